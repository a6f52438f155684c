"""The short table that ``compare`` prints at its end: plain text in a log, with colours on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leaderboard.board import Board
from leaderboard.captions import conditions
from leaderboard.columns import COLUMNS, Column, budget_text, score_columns
from leaderboard.comparable import Marks
from leaderboard.records import Record
from leaderboard.statistics import Statistics
from leaderboard.tables import Cell


def text_table(
    records: Iterable[Record],
    width: int = 120,
    *,
    statistics: Statistics | None = None,
    marks: Marks | None = None,
    colour: bool = False,
) -> str:
    """Return the leaderboard as aligned text, without a newline at its end.

    Tasks have columns where they all fit, and the cost columns where those still fit; the averages are always there,
    with their intervals where these fit.

    Args:
        records: Comparable or marked records in any order; those that are not done are listed below with their reason.
        width: The columns of the terminal.
        statistics: Of the rows of these records; made here without it.
        marks: The runs that are not comparable.
        colour: Whether to write terminal codes: the best bold, what is level with it underlined, intervals dim.
    """
    board = Board.of(records, statistics, marks)
    lines = _table(board, width, colour) if board.rows else ["No run is done: there is nothing to compare."]
    if board.missing:
        lines += ["", "Not in the table:"]
    for record in board.missing:
        budget = budget_text(record.budget.label)
        where = f"{record.method.name}, budget {budget}, seed {record.seed}"
        lines.append(_cut(f"  {where}: {record.status}: {' '.join(record.reason.split())}", width))
    return "\n".join(lines)


def _table(board: Board, width: int, colour: bool) -> list[str]:
    """Return the lines of the widest layout that fits, or of the shortest one."""
    costs = [COLUMNS["flops"], COLUMNS["seconds"]]
    narrow = [score_columns(board, tasks=False, bounds=bounds) for bounds in ([board.headline], [])]
    short = score_columns(board, tasks=False)
    full = score_columns(board)
    choices = [[*full, *costs], full, [*short, *costs], short, *narrow]
    layouts = [_laid_out(columns, board) for columns in choices]
    console = Console(width=10_000, file=io.StringIO())
    chosen = next((table for table in layouts if console.measure(table).maximum <= width), layouts[-1])
    above = [*conditions(board.rows), *_legend(board)]
    return [*(_cut(part, width) for part in above), "", *_drawn(chosen, colour)]


def _legend(board: Board) -> list[str]:
    """Say in short what brackets, ranks and marks are; the page says the rest."""
    places = range(len(board.rows)) if board.headline else ()
    several = any(len(row.records) > 1 for row in board.rows)
    lines = []
    if any(board.statistics.interval(at, board.headline) for at in places):
        lines.append(f"In brackets: 95 % intervals, {'test pairs and seeds' if several else 'of the test pairs only'}")
    if any(board.statistics.standing(at, board.headline) for at in places):
        lines.append(f"Rank: by {board.headline}; rows that share a letter cannot be told apart (Holm, 5 %)")
    return [*lines, *(f"{sign} {meaning}: in no rank" for sign, meaning in board.marks.items())]


def _laid_out(columns: Sequence[Column], board: Board) -> Table:
    """Return columns as a table of rich."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(Text(column.header), justify="left" if column.left else "right", no_wrap=True)
    for entry in board:
        table.add_row(*(_text(column.cell(entry)) for column in columns))
    return table


def _text(cell: Cell) -> Text:
    """Write one cell; nothing in it is markup."""
    text = Text().append(cell.text, "bold" if cell.best else "underline" if cell.level else "")
    return text.append(f" {cell.small}", "dim") if cell.small else text


def _drawn(table: Table, colour: bool) -> list[str]:
    """Return a table's lines."""
    file = io.StringIO()
    # As wide as it is: a table that does not fit is cut by the terminal, not by us.
    console = Console(
        file=file,
        width=10_000,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    console.print(table)
    return [line.rstrip() for line in file.getvalue().rstrip("\n").split("\n")]


def _cut(line: str, width: int) -> str:
    """Shorten a line to the terminal."""
    return line if len(line) <= width else f"{line[: width - 1]}…"
