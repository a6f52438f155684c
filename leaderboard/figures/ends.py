"""Names in a column at the right of a panel, each at the end of its line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leaderboard.figures.measure import widest
from leaderboard.figures.style import INK, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

LINE = 1.25 * SMALL / 72  # inches of a line of a name
GUTTER = 0.16  # inches between panel and names, where thin lines lead from one to the other


@dataclass(frozen=True)
class End:
    """A name, the height at which its line leaves the panel (data coordinates), and the line's colour."""

    text: str
    height: float
    colour: str


def room(sheet: Sheet, texts: Sequence[str]) -> tuple[float, float]:
    """Return how wide a margin these names need, and how high a panel, in inches."""
    return GUTTER + widest(sheet, texts), sum(map(_height, texts))


def _height(text: str) -> float:
    """Return how much of the column a name takes, in inches."""
    return LINE * (1 + text.count("\n")) + 0.02


def write_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Write the names beside a panel that has its final size and limits, none over another.

    Args:
        axes: The panel, as high as ``room`` says at least.
        ends: What to write.
    """
    sheet = axes.get_figure(root=True)
    assert sheet is not None
    inches = axes.get_position().height * sheet.get_figheight()
    gutter = GUTTER / (axes.get_position().width * sheet.get_figwidth())
    bottom, top = axes.get_ylim()
    wanted = [(end.height - bottom) / (top - bottom) for end in ends]
    sizes = [_height(end.text) / inches for end in ends]
    for end, from_, to in zip(ends, wanted, spread(wanted, sizes, 0.0, 1.0), strict=True):
        axes.plot(
            [1.0, 1.0 + 0.8 * gutter],
            [from_, to],
            transform=axes.transAxes,
            color=end.colour,
            linewidth=0.6,
            clip_on=False,
            zorder=1,
        )
        text = axes.text(1.0 + gutter, to, end.text, transform=axes.transAxes, fontsize=SMALL, color=INK, va="center")
        text.set_linespacing(1.05)
        text.set_gid("name")


def spread(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float) -> list[float]:
    """Move the middles of things in a column apart until none overlap, each as little as possible.

    Args:
        wanted: Where each would like its middle.
        sizes: How much room each needs.
        low: The lower end of the column, which must be able to hold all of them.
        high: The upper end.

    Returns:
        The middles, in the order given.
    """
    order = sorted(range(len(wanted)), key=lambda at: (wanted[at], at))
    # Blocks of neighbours that touch: [members, the mean of where their common foot would like to be, height].
    blocks: list[tuple[list[int], float, float]] = []
    for at in order:
        block = ([at], wanted[at] - sizes[at] / 2, sizes[at])
        while blocks and blocks[-1][1] + blocks[-1][2] > block[1]:
            members, foot, height = blocks.pop()
            count, more = len(members), len(block[0])
            # Each member's wish for the foot of the merged block.
            merged = (count * foot + more * (block[1] - height)) / (count + more)
            block = (members + block[0], merged, height + block[2])
        clamped = max(low, min(block[1], high - block[2]))
        blocks.append((block[0], clamped, block[2]))
    # Clamping to the top may have pushed a block into the one below it: settle from the top down.
    ceiling = high
    middles = [0.0] * len(wanted)
    for members, foot, height in reversed(blocks):
        foot = min(foot, ceiling - height)
        ceiling = foot
        for at in members:
            middles[at] = foot + sizes[at] / 2
            foot += sizes[at]
    return middles
