"""A row of a table: one method at one budget, its seeds together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from leaderboard.facts import Costs
from leaderboard.records import Record

TRAINING_FREE = "Training-free"
FINISHED = "Finished models"
# The column order of the published tables, so that ours can be read next to them.
PAPER_TASKS = (
    *("BIOSSES", "SICK-R", "STS12", "STS13", "STS14", "STS15", "STS16", "STS17", "STS22"),
    *("STSBenchmark", "STS-B"),
)


@dataclass(frozen=True)
class Row:
    """One method at one budget; ``records`` differ in nothing but the seed.

    ``mark`` is the sign of a row that is not comparable with the table's others; empty for these.
    """

    label: str
    records: tuple[Record, ...]
    mark: str = ""

    @property
    def first(self) -> Record:
        """The record that speaks for what all seeds share."""
        return self.records[0]

    @property
    def family(self) -> str:
        """The heading this row stands under."""
        return family(self.first)

    def task(self, name: str) -> float | None:
        """Mean score of a task over the seeds; None unless every seed has it."""
        return _mean([record.task_scores().get(name) for record in self.records])

    def average(self, name: str) -> float | None:
        """Mean of a named average over the seeds; None unless every seed has it."""
        return _mean([record.average_scores().get(name) for record in self.records])

    def deviation(self, name: str) -> float | None:
        """Sample standard deviation of a named average over the seeds; None with a single seed."""
        scores = [record.average_scores().get(name) for record in self.records]
        present = [score for score in scores if score is not None]
        return stdev(present) if len(present) == len(scores) > 1 else None

    def cost(self, of: Callable[[Costs], float]) -> float | None:
        """Mean attributed cost over the seeds; None for a finished model, whose training nobody here has seen."""
        return None if self.first.finished_model else fmean(of(record.costs.attributed) for record in self.records)


def _mean(scores: Sequence[float | None]) -> float | None:
    """Mean of values that are all there, else None: a mean over fewer seeds would pose as one over all."""
    present = [score for score in scores if score is not None]
    return fmean(present) if len(present) == len(scores) else None


def family(record: Record) -> str:
    """Return the family a record is listed under; finished models are their own, whatever they call themselves."""
    if record.finished_model:
        return FINISHED
    return TRAINING_FREE if record.method.family.casefold() == TRAINING_FREE.casefold() else record.method.family


def budget_size(record: Record) -> float:
    """Return a budget's size as a number to sort by: its label where that is one, else what was asked in all."""
    try:
        size = float(record.budget.label.replace(",", "").replace("_", ""))
    except ValueError:
        size = math.nan
    return size if math.isfinite(size) else float(sum(record.budget.asked.values()))


def sort_key(record: Record) -> tuple[object, ...]:
    """Order of everything we write: family (training-free first, finished last), method, budget, seed, run."""
    name = family(record)
    rank = {TRAINING_FREE: 0, FINISHED: 2}.get(name, 1)
    budget = (budget_size(record), record.budget.label)
    return (rank, name.casefold(), name, record.method.name, config_text(record), *budget, record.seed, record.run)


def config_text(record: Record) -> str:
    """Return a record's hyper-parameters as one comparable string."""
    return json.dumps(record.method.config, sort_keys=True, default=str)


def build_rows(records: Iterable[Record], marks: Mapping[str, str] | None = None) -> list[Row]:
    """Group done records into rows, in table order; records with any other status have no row.

    Args:
        records: Records in any order.
        marks: The sign of each run that is not comparable with the others (`leaderboard.comparable`).
    """
    marks = marks or {}
    done = sorted((record for record in records if record.done), key=sort_key)
    labels = _labels(done)
    grouped: dict[tuple[object, ...], list[Record]] = {}
    for record in done:
        mark = marks.get(record.run, "")
        key = (family(record), record.method.name, config_text(record), record.budget.label, mark)
        grouped.setdefault(key, []).append(record)
    return [Row(labels[row[0].run], tuple(row), marks.get(row[0].run, "")) for row in grouped.values()]


def _labels(records: Sequence[Record]) -> dict[str, str]:
    """Name each run by its method, and by the settings that differ where one method ran with several."""
    variants: dict[str, dict[str, Record]] = {}
    for record in records:
        variants.setdefault(record.method.name, {}).setdefault(config_text(record), record)
    labels = {}
    for record in records:
        name, others = record.method.name, [other.method.config for other in variants[record.method.name].values()]
        keys = sorted({key for config in others for key in config})
        differ = [key for key in keys if len({json.dumps(other.get(key), default=str) for other in others}) > 1]
        settings = ", ".join(f"{key}={record.method.config.get(key)}" for key in differ)
        labels[record.run] = f"{name} ({settings})" if settings else name
    return labels


def task_names(records: Iterable[Record]) -> list[str]:
    """Return every task that any of the records was measured on: the paper's order, then the benchmark's own."""
    names: dict[str, None] = {}
    for record in records:
        names.update(dict.fromkeys(record.benchmark.tasks))
        names.update(dict.fromkeys(record.task_scores()))
    known = {name: at for at, name in enumerate(PAPER_TASKS)}
    return sorted(names, key=lambda name: known.get(name, len(known)))  # stable: unknown ones keep their order


def average_names(records: Iterable[Record]) -> list[str]:
    """Return the averages that every record has, in the first one's order."""
    records = list(records)
    names = list(records[0].average_scores()) if records else []
    return [name for name in names if all(name in record.average_scores() for record in records)]
