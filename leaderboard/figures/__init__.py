"""Every figure of a leaderboard. Nothing here loads matplotlib before it draws."""

from __future__ import annotations

import re
from collections.abc import Sequence

from leaderboard.figures.drawing import Figure
from leaderboard.rows import Row
from leaderboard.statistics import Statistics

__all__ = ["Figure", "figures", "is_figure"]
ONE = ("pareto", "cost", "curves", "intervals", "heat_map")
MANY = ("epochs", "significance")  # one for each budget, which follows in the name of all but the largest one's


def figures(rows: Sequence[Row], statistics: Statistics, average: str) -> list[Figure]:
    """Draw every figure that these rows support.

    Args:
        rows: In table order; rows with a mark are drawn hollow and never on a front.
        statistics: Of these rows.
        average: The headline score: an average, or the task of a benchmark that has only one.

    Returns:
        In the order of a page; each has a PNG (200 dpi) and a PDF, the same bytes for the same records.
    """
    from leaderboard.figures.collection import draw_all

    return draw_all(rows, statistics, average)


def is_figure(name: str) -> bool:
    """Whether a file name is one that ``figures`` may have given, now or in an earlier version."""
    kinds = rf"(?:{'|'.join(ONE)}|(?:{'|'.join(MANY)})(?:-[0-9A-Za-z=.-]+)?)"
    return re.fullmatch(rf"{kinds}\.(?:png|pdf)|pareto\.svg", name) is not None
