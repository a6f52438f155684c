"""The tables as LaTeX floats to ``\\input`` into a paper: booktabs and graphicx, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from leaderboard.ablation import Choice
from leaderboard.board import Board
from leaderboard.comparable import Marks
from leaderboard.layouts import tables
from leaderboard.records import Record
from leaderboard.statistics import Statistics
from leaderboard.tables import Cell, Group, Head, Table

PREAMBLE = (
    "% Made by genembench from run records; made again, changes are lost.\n"
    "% Needs \\usepackage{booktabs,graphicx} and, with pdflatex, UTF-8 input (the default since 2018).\n"
)
# Beyond this many columns a table needs both columns of a two-column page.
NARROW = 7
CHARACTERS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    # In the oldest font encoding these three are other characters.
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    '"': r"''",
    "`": r"\textasciigrave{}",
    "–": "--",
    "—": "---",
    "−": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "→": r"\ensuremath{\rightarrow}",
    "Δ": r"\ensuremath{\Delta}",
    "†": r"\ensuremath{\dagger}",
    "‡": r"\ensuremath{\ddagger}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "„": "''",
    "‘": "`",
    "’": "'",
    "\N{NO-BREAK SPACE}": "~",
}


def latex_tables(
    records: Iterable[Record],
    *,
    statistics: Statistics | None = None,
    marks: Marks | None = None,
    published: str = "matching",
    ablations: Choice | None = None,
) -> dict[str, str]:
    """Return the files by name: ``table1.tex``, ``efficiency.tex`` and, where a method has variants, ``ablation.tex``.

    Args:
        records: Records in any order, comparable or marked.
        statistics: Of ``build_rows(records, marks.signs)``; made here without it.
        marks: The runs that are not comparable.
        published: Which published rows stand below ours: "matching", "all" or "none".
        ablations: The full methods and their variants; by their names without it.
    """
    board = Board.of(records, statistics, marks)
    return {f"{table.name}.tex": latex(table) for table in tables(board, published, ablations)}


def latex(table: Table) -> str:
    """Write one table as a float of its own."""
    kind = "table" if len(table.heads) <= NARROW else "table*"
    caption = " ".join(escape(_sentence(text)) for text in (table.title, *table.caption))
    columns = [_Column(head, _has_small(table, at)) for at, head in enumerate(table.heads)]
    lines = [
        f"\\begin{{{kind}}}[t]",
        "\\centering",
        "\\small",
        f"\\caption{{{caption}}}",
        f"\\label{{tab:{table.name}}}",
        "\\smallskip",
        # Only ever made smaller: a narrow table keeps its size.
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{@{{}}{''.join(column.alignment for column in columns)}@{{}}}}",
        "\\toprule",
        _row([column.title for column in columns]),
        *(line for group in table.groups for line in _group(group, columns)),
        "\\bottomrule",
        "\\end{tabular}}",
        *_below(table),
        f"\\end{{{kind}}}",
    ]
    return PREAMBLE + "\n".join(lines) + "\n"


class _Column(NamedTuple):
    """A column; one of numbers with small print is two in LaTeX, so that the numbers stand below each other."""

    head: Head
    split: bool

    @property
    def alignment(self) -> str:
        """How its cells are aligned."""
        return "r@{ }l" if self.split else "l" if self.head.left else "r"

    @property
    def title(self) -> str:
        """What stands above it."""
        text = escape(self.head.text)
        return f"\\multicolumn{{2}}{{c}}{{{text}}}" if self.split else text

    def cell(self, cell: Cell) -> str:
        """Write one of its cells."""
        text = escape(cell.text)
        text = f"\\textbf{{{text}}}" if cell.best else f"\\underline{{{text}}}" if cell.level else text
        raised = f"\\textsuperscript{{{escape(cell.raised)}}}" if cell.raised else ""
        # A footnote's number takes no room, or the digits before it would stand apart from those above.
        raised = raised if self.head.left or not raised else f"\\rlap{{{raised}}}"
        small = f"{{\\scriptsize {escape(cell.small)}}}" if cell.small else ""
        # A bracket or star at the beginning of a line would belong to the line break before it.
        guard = "{}" if text.startswith(("[", "*")) else ""
        return f"{guard}{text}{raised}{' & ' if self.split else ' ' if small else ''}{small}".rstrip()


def _has_small(table: Table, at: int) -> bool:
    """Whether a column holds numbers with small print."""
    return not table.heads[at].left and any(line[at].small for group in table.groups for line in group.lines)


def _group(group: Group, columns: Sequence[_Column]) -> list[str]:
    """Write the lines of a group below a rule and its heading."""
    width = sum(2 if column.split else 1 for column in columns)
    heading = [f"\\multicolumn{{{width}}}{{@{{}}l}}{{\\textit{{{escape(group.heading)}}}}} \\\\"]
    lines = [_row([column.cell(cell) for column, cell in zip(columns, line, strict=True)]) for line in group.lines]
    return ["\\midrule", *(heading if group.heading else []), *lines]


def _row(cells: Sequence[str]) -> str:
    """Write one line of the table."""
    return f"{' & '.join(cells)} \\\\"


def _below(table: Table) -> list[str]:
    """Write notes and footnotes under the table, in small print over the table's width."""
    notes = [escape(_sentence(note)) for note in table.notes]
    numbered = enumerate(table.footnotes, 1)
    footnotes = [f"\\textsuperscript{{{number}}}~{escape(text)}" for number, text in numbered]
    parts = [" ".join(notes), " \\quad ".join(footnotes)]
    text = "\\\\\n".join(part for part in parts if part)
    return ["", "\\smallskip", f"\\parbox{{\\linewidth}}{{\\footnotesize {text}}}"] if text else []


def _sentence(text: str) -> str:
    """End a text with a full stop."""
    return text if text.endswith((".", ";")) else f"{text}."


def escape(text: str) -> str:
    """Make plain text safe for pdflatex: nothing in it is a command, and every character is one that it knows.

    Letters of Latin scripts pass; a character that pdflatex would stop at is written as its code point.
    """
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
    # Two hyphens would become a dash.
    return re.sub("-(?=-)|(.)", lambda found: _character(found[1]) if found[1] else "-{}", text)


def _character(character: str) -> str:
    """Write one character."""
    if character in CHARACTERS:
        return CHARACTERS[character]
    # Latin-1 and Latin Extended-A letters are defined for UTF-8 input without any package.
    known = character.isascii() and character.isprintable()
    known |= "\u00c0" <= character <= "\u017f" and character.isalpha() and character not in "ĸŉſŦŧħĦ"
    return character if known else f"[U+{ord(character):04X}]"
