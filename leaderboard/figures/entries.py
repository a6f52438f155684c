"""The rows of a table as figures need them: with the headline score, its interval and a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboard.captions import metric_text
from leaderboard.columns import HEADERS
from leaderboard.figures.style import Look, looks
from leaderboard.headline import score
from leaderboard.rows import Row
from leaderboard.statistics import Interval, Statistics


@dataclass(frozen=True)
class Entry:
    """One row that has the headline score.

    Attributes:
        at: The row's place in the table, by which `Statistics` knows it.
        row: The row.
        quality: Its headline score, mean over seeds.
        interval: The score's 95 % interval; None where its pairs are not at hand.
        look: How it is drawn.
    """

    at: int
    row: Row
    quality: float
    interval: Interval | None
    look: Look

    @property
    def label(self) -> str:
        """The row's name, with the mark of one that is not comparable."""
        return f"{self.row.label} {self.row.mark}".rstrip()

    @property
    def finished(self) -> bool:
        """Whether this is an outside model, whose training nobody here has seen."""
        return self.row.first.finished_model

    @property
    def hollow(self) -> bool:
        """Whether it is drawn as one that is not comparable with the others."""
        return bool(self.row.mark)

    @property
    def competes(self) -> bool:
        """Whether it may stand on a front: neither an outside model nor marked as not comparable."""
        return not self.finished and not self.hollow

    @property
    def low(self) -> float:
        """The lower end of what is drawn."""
        return min(self.quality, self.interval.low) if self.interval else self.quality

    @property
    def high(self) -> float:
        """The upper end of what is drawn."""
        return max(self.quality, self.interval.high) if self.interval else self.quality


def entries(rows: Sequence[Row], statistics: Statistics, average: str) -> list[Entry]:
    """Return every row that has the headline score, an average or a single task, in table order."""
    look = looks(rows)
    return [
        Entry(at, row, quality, statistics.interval(at, average), look[row.label])
        for at, row in enumerate(rows)
        if (quality := score(row, average)) is not None
    ]


def quality_text(rows: Sequence[Row], average: str) -> str:
    """Say what the axis of quality shows, in two lines."""
    records = [record for row in rows for record in row.records]
    tasks = next((each.tasks for record in records for each in record.averages if each.name == average), None)
    metric = metric_text(records, tasks or [average])
    metric = "main scores ×100" if "," in metric else metric
    if tasks is None:
        return f"{HEADERS.get(average, average)},\n{metric}"
    # A mean that spells its tasks out is too long for an axis; the table's caption has them.
    named = "Mean" if average.startswith("Mean(") else f"{average}: mean"
    return f"{named} of {len(tasks)} tasks,\n{metric}"


def limits(shown: Sequence[Entry]) -> tuple[float, float]:
    """Return the ends of an axis of quality that holds all of these with their intervals."""
    return span([end for entry in shown for end in (entry.low, entry.high)])


def span(values: Sequence[float], room: float = 0.06, least: float = 0.5) -> tuple[float, float]:
    """Return the ends of an axis that holds these, with a share of room on either side."""
    low, high = min(values), max(values)
    spare = max(room * (high - low), least)
    return low - spare, high + spare
