"""What every table of a comparison is made from: its rows, their statistics, and what must be said of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from leaderboard.comparable import Marks
from leaderboard.headline import headline, shared_averages
from leaderboard.records import Record
from leaderboard.rows import Row, build_rows, sort_key
from leaderboard.statistics import Statistics


@dataclass(frozen=True)
class Board:
    """Everything that tables are made from.

    Attributes:
        rows: In table order.
        missing: Records that are not done, in table order.
        statistics: Of these rows.
        marks: What the signs of rows that are not comparable mean.
    """

    rows: tuple[Row, ...]
    missing: tuple[Record, ...]
    statistics: Statistics
    marks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record], statistics: Statistics | None = None, marks: Marks | None = None) -> Board:
        """Sort records into rows and the rest.

        Args:
            records: In any order; comparable, or marked.
            statistics: Of ``build_rows(records, marks.signs)``, if they have been made already.
            marks: The runs that are not comparable.
        """
        records = sorted(records, key=sort_key)
        rows = build_rows(records, marks.signs if marks else None)
        missing = tuple(record for record in records if not record.done)
        return cls(tuple(rows), missing, statistics or Statistics(rows), marks.notes if marks else {})

    @cached_property
    def averages(self) -> dict[str, tuple[str, ...]]:
        """The averages that all comparable rows share, with their tasks."""
        return shared_averages(self.rows)

    @cached_property
    def headline(self) -> str:
        """The score that ranks rows; empty where there is none."""
        found = headline(self.rows)
        return found[0] if found else ""

    @property
    def comparable(self) -> list[Row]:
        """The rows without a mark: what a table says of all its rows, it says of these."""
        return [row for row in self.rows if not row.mark]

    def __iter__(self) -> Iterator[Entry]:
        """Yield every row as columns need it."""
        return (Entry(self, at) for at in range(len(self.rows)))


@dataclass(frozen=True)
class Entry:
    """One row, at its place of the board: whatever a column may ask."""

    board: Board
    at: int

    @property
    def row(self) -> Row:
        """The row itself."""
        return self.board.rows[self.at]
