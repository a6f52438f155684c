"""A table before it has a format: Markdown, LaTeX and a terminal each write its cells and captions in their own way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What stands in one place.

    Attributes:
        text: The words or the number.
        small: What follows in small print, an interval for example; empty for nothing.
        raised: Numbers of footnotes, or a sign, set above the line; empty for nothing.
        best: Whether the text is a best score.
        level: Whether the text is a score that is not significantly worse than the best one.
    """

    text: str
    small: str = ""
    raised: str = ""
    best: bool = False
    level: bool = False


@dataclass(frozen=True)
class Head:
    """What stands above a column; ``left`` says that its cells are words."""

    text: str
    left: bool = False


@dataclass(frozen=True)
class Group:
    """Lines under one heading; an empty heading is not written."""

    heading: str
    lines: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """A whole table.

    Attributes:
        name: What its file and its label are called.
        title: What it shows, a few words.
        heads: One for each column.
        groups: In order; every line has a cell for each column.
        caption: What must be read before the numbers, paragraph by paragraph.
        notes: What may be read after them.
        footnotes: The texts of footnotes 1, 2, ...
    """

    name: str
    title: str
    heads: tuple[Head, ...]
    groups: tuple[Group, ...]
    caption: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()


class Footnotes:
    """Numbers texts in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def number(self, text: str) -> str:
        """Return the number of a text."""
        return self._numbers.setdefault(text, str(len(self._numbers) + 1))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts so far."""
        return tuple(self._numbers)
