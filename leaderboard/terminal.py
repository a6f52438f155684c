"""The short table that ``compare`` prints at its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leaderboard.captions import conditions
from leaderboard.columns import COLUMNS, Column, budget_text, score_columns
from leaderboard.records import Record
from leaderboard.rows import Row, average_names, build_rows, sort_key


def text_table(records: Iterable[Record], width: int = 120) -> str:
    """Return the leaderboard as aligned plain text, without a newline at its end.

    Tasks have columns where they all fit, and the cost columns where those still fit; the averages are always there.

    Args:
        records: Comparable records in any order; those that are not done are listed below with their reason.
        width: The columns of the terminal.
    """
    records = sorted(records, key=sort_key)
    rows = build_rows(records)
    lines = _table(rows, width) if rows else ["No run is done: there is nothing to compare."]
    missing = [record for record in records if not record.done]
    if missing:
        lines += ["", "Not in the table:"]
    for record in missing:
        budget = budget_text(record.budget.label)
        where = f"{record.method.name}, budget {budget}, seed {record.seed}"
        lines.append(_cut(f"  {where}: {record.status}: {' '.join(record.reason.split())}", width))
    return "\n".join(lines)


def _table(rows: Sequence[Row], width: int) -> list[str]:
    """Return the aligned lines of the widest layout that fits, or of the shortest one."""
    costs = [COLUMNS["flops"], COLUMNS["seconds"]]
    # A benchmark may name no average; then the tasks are all there is to say, however wide.
    averages = average_names(record for row in rows for record in row.records)
    short = score_columns(rows, tasks=not averages)
    choices = [[*score_columns(rows), *costs], score_columns(rows), [*short, *costs], short]
    layouts = [_align(columns, rows) for columns in choices]
    chosen = next((lines for lines in layouts if max(map(len, lines)) <= width), layouts[-1])
    return [*(_cut(part, width) for part in conditions(rows)), "", *chosen]


def _align(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Lay out columns two blanks apart."""
    table = [[column.header for column in columns], *([column.text(row) for column in columns] for row in rows)]
    widths = [max(len(line[at]) for line in table) for at in range(len(columns))]
    table.insert(1, ["-" * each for each in widths])
    return [
        "  ".join(
            cell.ljust(each) if column.left else cell.rjust(each)
            for column, each, cell in zip(columns, widths, line, strict=True)
        ).rstrip()
        for line in table
    ]


def _cut(line: str, width: int) -> str:
    """Shorten a line to the terminal."""
    return line if len(line) <= width else f"{line[: width - 1]}…"
