"""``leaderboard.md``: scores as in Table 1 of the AutoRegEmbed paper, then what is missing, then costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leaderboard.captions import averages_text, conditions, uncertainty
from leaderboard.columns import COLUMNS, Column, best, cost_columns, score_columns
from leaderboard.records import Record
from leaderboard.rows import FINISHED, Row, build_rows, sort_key

VOLUME = (
    "Vol. is the number of unique training examples: triplets, and in brackets those of other kinds; "
    "0 is training-free, – is unknown."
)
COSTS = (
    "What each method costs by itself (attributed): a stage that several runs share is charged in full to each. "
    "Unique and Seen count examples of all kinds, Tokens are without padding, FLOPs and Training without evaluation. "
    "What this comparison really spent stands in `costs.csv`."
)
OUTSIDE = f"{FINISHED} were trained elsewhere, on other data and at unknown cost: a reference, not a competitor."


def markdown(records: Iterable[Record], figure: str = "") -> str:
    """Write the page.

    Args:
        records: Comparable records in any order.
        figure: Name of the Pareto figure beside the page; empty when there is none.
    """
    records = sorted(records, key=sort_key)
    rows = build_rows(records)
    parts = ["# Leaderboard", *(_scores(rows) if rows else ["No run is done yet: there is nothing to compare."])]
    missing = [Row(record.method.name, (record,)) for record in records if not record.done]
    if missing:
        columns = [COLUMNS[key] for key in ("method", "budget", "seed", "status", "reason", "run")]
        parts += ["## Not in the table", _lines(columns, [_cells(columns, row) for row in missing])]
    trained_here = [row for row in rows if not row.first.finished_model]
    if trained_here:
        columns = cost_columns(trained_here)
        parts += ["## Costs", _lines(columns, [_cells(columns, row) for row in trained_here]), COSTS]
    if figure:
        parts += ["## Quality and cost", f"![Quality over training examples and training FLOPs]({figure})"]
    return "\n\n".join(parts) + "\n"


def _scores(rows: Sequence[Row]) -> list[str]:
    """Return the score table with its captions."""
    columns = score_columns(rows)
    winners = [best(column, rows) for column in columns]
    lines: list[list[str]] = []
    heading = ""
    for at, row in enumerate(rows):
        if row.family != heading:
            heading = row.family
            lines.append([f"*{_escape(heading)}*", *("" for _ in columns[1:])])
        # One row is trivially the best of its table; bold says something only from two on.
        cells = zip(_cells(columns, row), winners, strict=True)
        lines.append([f"**{cell}**" if at in winner and len(rows) > 1 else cell for cell, winner in cells])
    captions = [". ".join(map(_escape, conditions(rows))) + ".", uncertainty(rows)]
    notes = [VOLUME, "Bold is the best of a column, finished models aside.", _escape(averages_text(rows))]
    notes += [OUTSIDE] if any(row.first.finished_model for row in rows) else []
    # Two trailing blanks would be trimmed by editors; each caption is its own paragraph.
    return [*captions, _lines(columns, lines), *(note for note in notes if note)]


def _cells(columns: Sequence[Column], row: Row) -> list[str]:
    """Return a row's cells, safe inside a Markdown table."""
    return [_escape(column.text(row)) for column in columns]


def _lines(columns: Sequence[Column], lines: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table that is readable as plain text too."""
    table = [[_escape(column.header) for column in columns], *lines]
    widths = [max(3, *(len(line[at]) for line in table)) for at in range(len(columns))]
    rule = [
        "-" * width if column.left else "-" * (width - 1) + ":" for column, width in zip(columns, widths, strict=True)
    ]
    return "\n".join(_line(columns, widths, line) for line in (table[0], rule, *table[1:]))


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    """Lay out one line of a table."""
    aligned = (
        cell.ljust(width) if column.left else cell.rjust(width)
        for column, width, cell in zip(columns, widths, cells, strict=True)
    )
    return f"| {' | '.join(aligned)} |"


def _escape(text: str) -> str:
    """Keep what a run wrote (a reason, a method's name) from breaking the table or becoming markup."""
    text = " ".join(text.split())
    for mark in ("\\", "|", "*", "`", "<", "["):
        text = text.replace(mark, f"\\{mark}")
    return text
