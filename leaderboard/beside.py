"""The rows of a score table that others have published: printed beside ours, compared with nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from genembench.problem import unknown
from leaderboard.board import Board
from leaderboard.columns import Column
from leaderboard.published import METRIC, Fact, Published, published_rows, read_published
from leaderboard.tables import Cell, Footnotes, Group
from leaderboard.units import UNKNOWN, score

CHOICES = ("matching", "all", "none")
HEADING = "Published (not ranked)"
COMPUTED = "Not printed there: computed by us as the mean of the task scores printed there."
# Printed means are rounded to two decimals, and so are the scores behind them.
ROUNDING = 0.011
_NAMES = {"STS-B": "STSBenchmark"}


def published_group(
    board: Board, columns: Sequence[Column], which: str, footnotes: Footnotes, facts: Iterable[Fact] | None = None
) -> tuple[Group | None, str]:
    """Return published rows under our columns, and the note that goes with them; none where nothing fits.

    Scores are shown only under tasks that we score by the same metric, averages only under those of the same tasks.

    Args:
        board: Our rows.
        columns: The columns of the table.
        which: "matching" for the methods that stand in the table, "all", or "none".
        footnotes: Takes the sources, and what must be said of single numbers.
        facts: What is published; without it ``published.csv``.

    Raises:
        Problem: there is no such choice, or the file is damaged.
    """
    if which not in CHOICES:
        raise unknown("choice of published rows", which, CHOICES)
    places: dict[str, int] = {}
    for at, row in enumerate(board.rows):
        places.setdefault(row.first.method.name, at)
    records = [record for row in board.rows for record in row.records]
    tasks = {it.task for record in records for it in record.scores if it.metric == METRIC}
    if which == "none" or not tasks:
        return None, ""
    rows = published_rows(read_published() if facts is None else facts)
    rows = [row for row in rows if which == "all" or row.first.ours in places]
    rows.sort(key=lambda row: places.get(row.first.ours, len(places)))  # stable: the rest in the file's order
    rows = [row for row in rows if _fits(row, board, columns, tasks)]
    lines = [tuple(_cell(row, column.name, board, tasks, footnotes) for column in columns) for row in rows]
    return (Group(HEADING, tuple(lines)), _note(rows)) if lines else (None, "")


def _fits(row: Published, board: Board, columns: Sequence[Column], tasks: set[str]) -> bool:
    """Whether a row has a score under any of our columns."""
    return any(_score(row, column.name, board, tasks, Footnotes()) for column in columns)


def _cell(row: Published, name: str, board: Board, tasks: set[str], footnotes: Footnotes) -> Cell:
    """Return a row's cell in the column of this name."""
    if name == "method":
        return Cell(f"{row.first.method}, {row.first.backbone}", raised=footnotes.number(row.first.source))
    if name == "volume":
        return Cell(re.sub(r"\d+", lambda found: f"{int(found[0]):,}", row.first.training_samples) or UNKNOWN)
    return _score(row, name, board, tasks, footnotes) or Cell(UNKNOWN)


def _score(row: Published, name: str, board: Board, tasks: set[str], footnotes: Footnotes) -> Cell | None:
    """Return a row's printed or computed score in a column; None where there is none."""
    if name in board.averages:
        over = board.averages[name]
        return _average(row, [_NAMES.get(task, task) for task in over], footnotes) if tasks.issuperset(over) else None
    fact = row.facts.get(_NAMES.get(name, name)) if name in tasks else None
    if fact is None:
        return None
    other = fact.source != row.first.source
    return Cell(score(fact.value), raised=footnotes.number(fact.source) if other else "")


def _average(row: Published, over: Sequence[str], footnotes: Footnotes) -> Cell | None:
    """Return a row's average over tasks, with a footnote where it is not what the row's own tasks say."""
    printed, mean = row.average(over), row.mean(over)
    if printed is None:
        return None if mean is None else Cell(score(mean), raised=footnotes.number(COMPUTED))
    if mean is None or abs(mean - printed.value) <= ROUNDING:
        return Cell(score(printed.value))
    text = f"As printed; the mean of the {len(over)} task scores printed beside it is {score(mean)}."
    return Cell(score(printed.value), raised=footnotes.number(text))


def _note(rows: Iterable[Published]) -> str:
    """Say what published rows are, and which stand for which of ours."""
    pairs = dict.fromkeys((row.first.method, row.first.ours) for row in rows if row.first.ours)
    named = [f"{method} for {ours}" for method, ours in pairs if method.casefold() != ours]
    beside = f" Names differ: {', '.join(named)}." if named else ""
    return (
        "Published rows are copied as printed. They come from other backbones, data and code, and take part in no "
        f"rank and no test.{beside}"
    )
