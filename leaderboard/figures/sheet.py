"""Where panels and legend stand, in inches: type keeps its size, and only the paper grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from leaderboard.figures import keys as legends
from leaderboard.figures.keys import Key
from leaderboard.figures.style import COLUMN, PAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

# Inches: left of the panels (axis and its label), right of them, above, between, and under each panel.
LEFT, RIGHT, TOP, BETWEEN, UNDER = 0.66, 0.08, 0.1, 0.22, 0.56


def new_sheet(width: float, height: float) -> Sheet:
    """Return an empty sheet of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def panel(sheet: Sheet, left: float, bottom: float, width: float, height: float) -> Axes:
    """Put a panel on a sheet that has its final size; all in inches from the lower left corner."""
    across, up = sheet.get_size_inches()
    return sheet.add_axes((left / across, bottom / up, width / across, height / up))


def grid(count: int, keys: Sequence[Key], height: float) -> tuple[Sheet, list[Axes]]:
    """Lay out panels, two to a line, with one legend: in the last line's free half where it fits, else below.

    Args:
        count: How many panels, at least one.
        keys: The legend's entries, which may be none.
        height: Of a panel, in inches.

    Returns:
        The sheet and the panels, line by line. An odd panel takes a whole line unless the legend stands beside it.
    """
    columns = min(2, count)
    lines = math.ceil(count / columns)
    sheet = new_sheet(PAGE if columns == 2 else COLUMN, 1.0)
    inside = sheet.get_figwidth() - LEFT - RIGHT
    width = (inside - BETWEEN * (columns - 1)) / columns
    free = columns * lines > count
    legend, wide, high = None, 0.0, 0.0
    if keys and free:
        legend = legends.legend(sheet, keys, width, columns=1)
        wide, high = legends.size(sheet, legend)
        if wide > width or high > height:
            free, legend = False, None
            sheet.legends.clear()
    beside = legend is not None
    if keys and not beside:
        legend = legends.legend(sheet, keys, sheet.get_figwidth() - 0.2)
        wide, high = legends.size(sheet, legend)
    below = 0.0 if beside or not keys else high + 0.12
    sheet.set_figheight(TOP + lines * (height + UNDER) + below)
    panels = []
    for at in range(count):
        line, column = divmod(at, columns)
        stretched = at == count - 1 and columns * lines > count and not beside
        left, bottom = LEFT + column * (width + BETWEEN), below + (lines - 1 - line) * (height + UNDER) + UNDER
        panels.append(panel(sheet, left, bottom, inside if stretched else width, height))
    if legend is not None:
        middle = (LEFT + width + BETWEEN + width / 2, UNDER + height / 2) if beside else (0.0, 0.06 + high / 2)
        x = middle[0] / sheet.get_figwidth() if beside else 0.5
        legend.set_bbox_to_anchor((x, middle[1] / sheet.get_figheight()), transform=sheet.transFigure)
    return sheet, panels
