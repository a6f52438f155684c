"""``leaderboard.md``: every table as Markdown that reads well as plain text too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from leaderboard.ablation import Choice
from leaderboard.board import Board
from leaderboard.comparable import Marks
from leaderboard.layouts import missing, tables
from leaderboard.records import Record
from leaderboard.statistics import Statistics
from leaderboard.tables import Cell, Head, Table

NOTHING = "No run is done yet: there is nothing to compare."


def markdown(
    records: Iterable[Record],
    *,
    statistics: Statistics | None = None,
    marks: Marks | None = None,
    figures: Sequence[tuple[str, str, str]] = (),
    published: str = "matching",
    ablations: Choice | None = None,
) -> str:
    """Write the page.

    Args:
        records: Records in any order, comparable or marked.
        statistics: Of ``build_rows(records, marks.signs)``; made here without it.
        marks: The runs that are not comparable.
        figures: Of each figure its title, what it shows in words, and its file beside the page.
        published: Which published rows stand below ours: "matching", "all" or "none".
        ablations: The full methods and their variants; by their names without it.
    """
    board = Board.of(records, statistics, marks)
    lost = missing(board)
    parts = ["# Leaderboard"]
    found = tables(board, published, ablations)
    parts += _parts(found[0], "") if found else [NOTHING]
    for table in (*([lost] if lost else []), *found[1:]):
        parts += _parts(table, f"## {escape(table.title)}")
    for title, words, file in figures:
        parts += [f"## {escape(title)}", f"![{escape(words)}]({file})"]
    return "\n\n".join(parts) + "\n"


def _parts(table: Table, heading: str) -> list[str]:
    """Return a table with all that is said of it; every caption is its own paragraph."""
    lines = [line for group in table.groups for line in _group(group.heading, group.lines, len(table.heads))]
    notes = [escape(note) for note in table.notes]
    footnotes = [f"<sup>{number}</sup> {escape(text)}" for number, text in enumerate(table.footnotes, 1)]
    # Two trailing blanks would be trimmed by editors; a break of HTML keeps footnotes one to a line.
    below = [*notes, *(["<br>\n".join(footnotes)] if footnotes else [])]
    return [part for part in (heading, *map(escape, table.caption), _grid(table.heads, lines), *below) if part]


def _group(heading: str, lines: Sequence[Sequence[Cell]], width: int) -> list[list[str]]:
    """Return the lines of a group, its heading first."""
    head = [[f"*{escape(heading)}*", *[""] * (width - 1)]] if heading else []
    return [*head, *([_cell(cell) for cell in line] for line in lines)]


def _cell(cell: Cell) -> str:
    """Write one cell."""
    text = escape(cell.text)
    text = f"**{text}**" if cell.best else f"<ins>{text}</ins>" if cell.level else text
    raised = f"<sup>{escape(cell.raised)}</sup>" if cell.raised else ""
    # Small print is never a run's own words: its brackets need no escape.
    return f"{text}{raised} {cell.small}".rstrip()


def _grid(heads: Sequence[Head], lines: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table that is readable as plain text too."""
    table = [[escape(head.text) for head in heads], *lines]
    widths = [max(3, *(len(line[at]) for line in table)) for at in range(len(heads))]
    rule = ["-" * width if head.left else "-" * (width - 1) + ":" for head, width in zip(heads, widths, strict=True)]
    return "\n".join(_line(heads, widths, line) for line in (table[0], rule, *table[1:]))


def _line(heads: Sequence[Head], widths: Sequence[int], cells: Sequence[str]) -> str:
    """Lay out one line of a table."""
    aligned = (
        cell.ljust(width) if head.left else cell.rjust(width)
        for head, width, cell in zip(heads, widths, cells, strict=True)
    )
    return f"| {' | '.join(aligned)} |"


def escape(text: str) -> str:
    """Keep what a run wrote (a reason, a method's name) from breaking the table or becoming markup."""
    text = " ".join(text.split())
    # Escaped is only what would be markup: no underscore inside a word, no star between blanks, < where a tag could
    # begin, & where an entity could, ~ and $ in pairs.
    marks = r"[\\|`\[\]]|\*(?=\S)|(?<=\S)\*|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|~(?=.*~)|\$(?=.*\$)"
    return re.sub(marks, lambda found: f"\\{found[0]}", text)
