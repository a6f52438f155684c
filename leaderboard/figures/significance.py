"""The matrix of differences: every row of a contest against every other, on the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from leaderboard.figures.entries import Entry
from leaderboard.figures.matrix import EMPTY, WHITE, Cell, draw_cell, inches, scale, shade
from leaderboard.figures.measure import widest, wrapped
from leaderboard.figures.sheet import new_sheet, panel
from leaderboard.figures.style import INK, QUIET, SMALL
from leaderboard.statistics import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Sheet

# Inches: of a cell, of a name's further lines, above and below the cells, around everything.
WIDTH, HEIGHT, MORE, HEAD, FOOT, EDGE = 0.38, 0.22, 0.105, 0.2, 0.32, 0.08
NAME = 34  # characters of a name's line
MAP = "PuOr"
LEAST = 4.0  # points: differences all smaller than this are not shown in the strongest colours
NOTE = "Row minus column, in points. Bold and outlined: significant at 5 % (Holm)."


def draw(entries: Sequence[Entry], comparisons: Sequence[Comparison], which: str = "") -> Sheet:
    """Draw the matrix, best row and best column first; columns are named by their row's number.

    Args:
        entries: The rows of one contest in any order.
        comparisons: All that were made between them.
        which: What contest this is, where there are several.
    """
    note = f"{which[:1].upper()}{which[1:]}. {NOTE}" if which else NOTE
    entries = sorted(entries, key=lambda entry: (-entry.quality, entry.at))
    sheet = new_sheet(1.0, 1.0)
    names = [wrapped(entry.label, NAME) for entry in entries]
    numbers = [str(at + 1) for at in range(len(entries))]
    heights = [HEIGHT + MORE * name.count("\n") for name in names]
    number, quality = widest(sheet, numbers), widest(sheet, [f"{entry.quality:.2f}" for entry in entries])
    margin = EDGE + number + 0.08 + widest(sheet, names) + 0.1 + quality + 0.08
    across, down = WIDTH * len(entries), sum(heights)
    width = max(margin + across, EDGE + widest(sheet, [note])) + EDGE
    sheet.set_size_inches(width, EDGE + HEAD + down + FOOT)
    axes = panel(sheet, margin, FOOT, across, down)
    inches(axes, across, down)
    grid = cells(entries, comparisons)
    top = 0.0
    for at, (entry, height) in enumerate(zip(entries, heights, strict=True)):
        style: dict[str, Any] = {"va": "center_baseline", "fontsize": SMALL, "color": INK}
        middle = top + height / 2
        axes.text(-margin + EDGE + number, middle, numbers[at], ha="right", **style)
        axes.text(-margin + EDGE + number + 0.08, middle, names[at], **{**style, "va": "center"}, linespacing=1.0)
        axes.text(-0.08, middle, f"{entry.quality:.2f}", ha="right", **style)
        axes.text(WIDTH * (at + 0.5), -HEAD / 2, numbers[at], ha="center", **style)
        for column, cell in enumerate(grid[at]):
            draw_cell(axes, cell, WIDTH * column, top, WIDTH, height)
        top += height
    sheet.text(EDGE / width, 0.1 / sheet.get_figheight(), note, fontsize=SMALL, color=INK)
    return sheet


def cells(entries: Sequence[Entry], comparisons: Sequence[Comparison]) -> list[list[Cell]]:
    """Return the cells line by line: a difference that may be noise is grey, the diagonal and gaps are empty.

    Args:
        entries: In the order of the lines.
        comparisons: Between any of them.
    """
    found = {(it.first, it.second): it for it in comparisons}
    reach = max([LEAST, *(it.difference for it in comparisons if it.significant)])
    return [[_cell(found, row.at, column.at, reach) for column in entries] for row in entries]


def _cell(found: dict[tuple[int, int], Comparison], row: int, column: int, reach: float) -> Cell:
    """Return the cell of one row against another."""
    comparison = found.get((row, column)) or found.get((column, row))
    if comparison is None:
        return Cell("", EMPTY if row == column else WHITE)
    difference = comparison.difference if comparison.first == row else -comparison.difference
    text = f"{difference:+.1f}".replace("-", "−") if abs(difference) >= 0.05 else "0.0"
    if not comparison.significant:
        return Cell(text, WHITE, QUIET)
    # The palest tenth and the darkest ends of the map are left out: one looks like nothing, the others hide the edge.
    strength = 0.1 + 0.75 * scale(abs(difference), 0.0, reach)
    return Cell(
        text, shade(MAP, 0.5 - strength / 2 if difference < 0 else 0.5 + strength / 2), bold=True, outlined=True
    )
