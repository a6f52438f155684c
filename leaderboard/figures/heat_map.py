"""The heat map: every task's and average's score, coloured within its own column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from leaderboard.columns import HEADERS, budget_text
from leaderboard.figures.matrix import EMPTY, Cell, Colour, draw_cell, inches, scale, shade
from leaderboard.figures.measure import widest, wrapped
from leaderboard.figures.sheet import new_sheet, panel
from leaderboard.figures.style import INK, QUIET, SMALL
from leaderboard.headline import score
from leaderboard.rows import Row, task_names
from leaderboard.statistics import Statistics
from leaderboard.units import UNKNOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

# Inches: of a cell, of a name's further lines, between tasks and averages, around everything.
WIDTH, HEIGHT, MORE, APART, EDGE, FOOT = 0.4, 0.2, 0.105, 0.08, 0.08, 0.24
NAME = 34  # characters of a name's line
MAP = "YlGnBu"
NOTE = "Colour: from the worst (pale) to the best (dark) score of a column.\nBold: best of its budget."
LEAST = 2.0  # a column whose scores lie closer than this is not torn apart into a landslide


def draw(rows: Sequence[Row], statistics: Statistics, averages: Sequence[str]) -> Sheet:
    """Draw the heat map.

    Args:
        rows: The rows in table order.
        statistics: Which scores are the best of their contests.
        averages: The averages to show after the tasks.
    """
    tasks = task_names(record for row in rows for record in row.records)
    columns = [*tasks, *(name for name in averages if name not in tasks)]
    headers = [HEADERS.get(name, name) for name in columns]
    names = _names(rows)
    families = {at: row.family for at, row in enumerate(rows) if at == 0 or rows[at - 1].family != row.family}
    lefts = [WIDTH * at + (APART if at >= len(tasks) else 0.0) for at in range(len(columns))]
    across = lefts[-1] + WIDTH
    heights = [HEIGHT + MORE * name.count("\n") for name in names]
    down = sum(heights) + HEIGHT * len(families)

    sheet = new_sheet(1.0, 1.0)
    margin = EDGE + 0.06 + max(widest(sheet, names), widest(sheet, families.values(), weight="bold"))
    slant = 0.72  # headers stand at 45 degrees
    head = widest(sheet, headers) * slant + 0.14
    beyond = max(EDGE, widest(sheet, headers[-1:]) * slant + 0.14 - WIDTH / 2)
    width, foot = max(margin + across + beyond, widest(sheet, [NOTE]) + 2 * EDGE), FOOT + EDGE * 2
    sheet.set_size_inches(width, EDGE + head + down + foot)
    sheet.text(EDGE / width, EDGE / sheet.get_figheight(), NOTE, fontsize=SMALL, color=INK, va="bottom")
    axes = panel(sheet, margin, foot, across, down)
    inches(axes, across, down)
    for left, header in zip(lefts, headers, strict=True):
        axes.text(left + WIDTH / 2, -0.03, header, rotation=45, rotation_mode="anchor", fontsize=SMALL, color=INK)
    top = 0.0
    tops = []
    for at, (name, height) in enumerate(zip(names, heights, strict=True)):
        if at in families:
            _write(axes, families[at], top + HEIGHT / 2 + 0.015, weight="bold")
            top += HEIGHT
        _write(axes, name, top + height / 2)
        tops.append(top)
        top += height
    for left, column in zip(lefts, columns, strict=True):
        for cell, place, height in zip(cells(rows, statistics, column), tops, heights, strict=True):
            draw_cell(axes, cell, left, place, WIDTH, height)
    return sheet


def cells(rows: Sequence[Row], statistics: Statistics, column: str) -> list[Cell]:
    """Return a column's cells from top to bottom.

    The ground runs from the worst to the best of the rows that were made here; what is beyond has the end's colour.
    """
    scores = [score(row, column) for row in rows]
    known = [value for value in scores if value is not None]
    ours = [
        value
        for row, value in zip(rows, scores, strict=True)
        if value is not None and not row.first.finished_model and not row.mark
    ]
    low, high = min(ours or known, default=0.0), max(ours or known, default=0.0)
    best = statistics.best(column) if len(rows) > 1 else set()
    return [
        Cell(UNKNOWN, EMPTY, QUIET)
        if value is None
        else Cell(f"{value:.1f}".replace("-", "−"), _ground(value, low, high), bold=at in best)
        for at, value in enumerate(scores)
    ]


def _ground(value: float, low: float, high: float) -> Colour:
    """Return a score's colour: darker is better; the map's very ends are left out."""
    return shade(MAP, 0.04 + 0.86 * scale(value, low, high, LEAST))


def _names(rows: Sequence[Row]) -> list[str]:
    """Name the rows, with their budgets where these differ."""
    budgets = {row.first.budget.label for row in rows if row.first.budget.asked}
    names = []
    for row in rows:
        budget = f", {budget_text(row.first.budget.label)}" if len(budgets) > 1 and row.first.budget.asked else ""
        names.append(wrapped(f"{row.label}{budget} {row.mark}".rstrip(), NAME))
    return names


def _write(axes: Axes, text: str, middle: float, weight: str = "normal") -> None:
    """Write a name before its line of cells."""
    axes.text(
        -0.06,
        middle,
        text,
        ha="right",
        va="center",
        fontsize=SMALL,
        fontweight=weight,
        color=INK,
        linespacing=1.0,
    )
