"""The tables of a comparison: scores as in Table 1 of the AutoRegEmbed paper, what is missing, ablation, efficiency."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from leaderboard.ablation import Choice, ablation
from leaderboard.beside import published_group
from leaderboard.board import Board, Entry
from leaderboard.captions import (
    COSTS,
    OUTSIDE,
    VOLUME,
    averages_text,
    conditions_text,
    marks_text,
    probe_text,
    ranks,
    uncertainty,
)
from leaderboard.columns import COLUMNS, MISSING, PROBED, Column, headline_column, score_columns, telling
from leaderboard.published import Fact
from leaderboard.rows import Row
from leaderboard.tables import Cell, Footnotes, Group, Table

COSTLY = ("unique", "seen", "tokens", "steps", "flops", "seconds", "memory")


def tables(board: Board, published: str = "matching", ablations: Choice | None = None) -> list[Table]:
    """Return every table of results that the rows make: scores, ablation, efficiency.

    Args:
        board: The rows; without any there are no tables.
        published: Which published rows stand below ours: "matching", "all" or "none".
        ablations: The full methods and their variants; by their names without it.
    """
    if not board.rows:
        return []
    found = [scores(board, published), ablation(board, ablations), efficiency(board)]
    return [table for table in found if table]


def scores(board: Board, published: str = "matching", facts: Iterable[Fact] | None = None) -> Table:
    """Lay out Table 1: families, tasks, averages with intervals, ranks, and published rows below.

    Args:
        board: The rows, at least one.
        published: Which published rows: "matching", "all" or "none".
        facts: What is published; without it the file that comes with this package.
    """
    columns = score_columns(board)
    groups = [
        Group(family, tuple(_line(columns, board, at) for at in places)) for family, places in _families(board.rows)
    ]
    footnotes = Footnotes()
    below, note = published_group(board, columns, published, footnotes, facts)
    outside = OUTSIDE if any(row.first.finished_model for row in board.rows) else ""
    notes = [ranks(board), VOLUME, averages_text(board), marks_text(board), outside, note]
    return Table(
        "table1",
        "Scores",
        tuple(column.head for column in columns),
        (*groups, *([below] if below else [])),
        (conditions_text(board), uncertainty(board)),
        tuple(text for text in notes if text),
        footnotes.texts,
    )


def _families(rows: Iterable[Row]) -> list[tuple[str, list[int]]]:
    """Return the headings in order, with the places of their rows."""
    grouped = groupby(enumerate(rows), key=lambda each: each[1].family)
    return [(family, [at for at, _ in each]) for family, each in grouped]


def _line(columns: Iterable[Column], board: Board, at: int) -> tuple[Cell, ...]:
    """Return the cells of one row."""
    return tuple(column.cell(Entry(board, at)) for column in columns)


def efficiency(board: Board) -> Table:
    """Lay out what each row costs, in training and in use, beside its score; nothing measured gives no column."""
    keys = ["method", *(key for key in telling(board) if key == "budget")]
    columns = [COLUMNS[key] for key in keys]
    if board.headline:
        columns.append(headline_column(board))
    columns += [COLUMNS[key] for key in COSTLY]
    probed = [COLUMNS[key] for key in PROBED]
    columns += [column for column in probed if any(column.value(entry) is not None for entry in board)]
    lines = tuple(tuple(column.cell(entry) for column in columns) for entry in board)
    caption = tuple(text for text in (COSTS, probe_text(board)) if text)
    return Table("efficiency", "Efficiency", tuple(column.head for column in columns), (Group("", lines),), caption)


def missing(board: Board) -> Table | None:
    """List the runs that have no row, with their reasons; None where every run is done."""
    if not board.missing:
        return None
    rows = tuple(Row(record.method.name, (record,)) for record in board.missing)
    columns = [COLUMNS[key] for key in MISSING]
    lines = tuple(tuple(column.cell(entry) for column in columns) for entry in Board(rows, (), board.statistics))
    return Table("missing", "Not in the table", tuple(column.head for column in columns), (Group("", lines),))
