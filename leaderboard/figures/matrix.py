"""A table of coloured cells, in inches, so that its numbers can be read however many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leaderboard.figures.style import SMALL, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A colour from 0 to 1 in red, green and blue.
Colour = tuple[float, float, float]
WHITE: Colour = (1.0, 1.0, 1.0)
EMPTY: Colour = (0.95, 0.95, 0.95)


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        colour: Its ground.
        type_colour: Of the text; None for black or white, whichever can be read on the ground.
        bold: Whether the text is bold.
        outlined: Whether the cell has a dark edge.
    """

    text: str
    colour: Colour = WHITE
    type_colour: str | None = None
    bold: bool = False
    outlined: bool = False


def draw_cell(axes: Axes, cell: Cell, left: float, top: float, width: float, height: float) -> None:
    """Draw a cell into a panel whose data coordinates are inches."""
    from matplotlib.patches import Rectangle

    ground = Rectangle((left, top), width, height, facecolor=cell.colour, edgecolor="white", linewidth=0.8, zorder=1)
    axes.add_patch(ground)
    if cell.outlined:
        inset = 0.011  # its edge inside the cell, clear of the neighbour's
        axes.add_patch(
            Rectangle(
                (left + inset, top + inset),
                width - 2 * inset,
                height - 2 * inset,
                fill=False,
                edgecolor="0.1",
                linewidth=0.8,
                zorder=2,
            )
        )
    if cell.text:
        axes.text(
            left + width / 2,
            top + height / 2,
            cell.text,
            ha="center",
            va="center_baseline",
            fontsize=SMALL,
            fontweight="bold" if cell.bold else "normal",
            color=cell.type_colour or ink(cell.colour),
            zorder=3,
        )


def inches(axes: Axes, width: float, height: float) -> None:
    """Make a panel's data coordinates inches from its upper left corner, and hide its frame."""
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()


def shade(name: str, share: float) -> Colour:
    """Return a colour of one of matplotlib's maps.

    Args:
        name: The map.
        share: From 0 to 1.
    """
    import matplotlib

    red, green, blue, _ = matplotlib.colormaps[name](share)
    return float(red), float(green), float(blue)


def scale(value: float, low: float, high: float, least: float = 0.0) -> float:
    """Return where a value lies between two ends, from 0 to 1.

    Args:
        value: The value; beyond an end it counts as the end.
        low: The lower end.
        high: The upper end.
        least: How far apart the ends must be at least; they are moved apart evenly.
    """
    spare = max(0.0, least - (high - low)) / 2
    low, high = low - spare, high + spare
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5
