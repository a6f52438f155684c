"""What is known of one row in one column of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np

from leaderboard.evidence import Evidence
from leaderboard.records import Record
from leaderboard.rows import Row
from leaderboard.spearman import FloatArray


@dataclass(frozen=True, eq=False)
class Sample:
    """The scores of a row's seeds, and the same under each resample.

    Attributes:
        tasks: The tasks of the column: those of an average, or the one task.
        seeds: Seed of each run.
        scores: Score of each run.
        trained: Whether anything was trained, so that another seed would have given something else.
        task_scores: Score of each run in each task ``[seeds]``.
        task_replicates: The same under each resample ``[seeds, B]``.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    trained: bool
    task_scores: Mapping[str, FloatArray]
    task_replicates: Mapping[str, FloatArray]

    @property
    def score(self) -> float:
        """Mean over the seeds."""
        return fmean(self.scores)

    @cached_property
    def replicates(self) -> FloatArray:
        """Mean over tasks and seeds under each resample ``[B]``; each task is resampled by itself."""
        means = [self.task_replicates[task].mean(axis=0) for task in self.tasks]
        return np.asarray(np.mean(means, axis=0), np.float64)


def score_of(row: Row, column: str) -> float | None:
    """Return a row's average or task of this name, as it stands in the table."""
    average = row.average(column)
    return row.task(column) if average is None else average


def sample_of(records: Sequence[Record], column: str, evidence: Evidence) -> Sample | None:
    """Collect what is known of the runs of a row, or of one of them; None where anything of it is missing."""
    tasks = _tasks(records[0], column)
    scores = [record.average_scores().get(column, record.task_scores().get(column)) for record in records]
    present = tuple(score for score in scores if score is not None)
    if len(present) < len(records) or any(_tasks(record, column) != tasks for record in records):
        return None
    replicates = {task: found for task in tasks if (found := evidence.of(records, task)) is not None}
    if len(replicates) < len(tasks):
        return None
    task_scores = {task: np.array([record.task_scores()[task] for record in records]) for task in tasks}
    seeds, trained = tuple(record.seed for record in records), bool(records[0].budget.asked)
    return Sample(tasks, seeds, present, trained, task_scores, replicates)


def _tasks(record: Record, column: str) -> tuple[str, ...]:
    """Return the tasks that a column is the mean of."""
    return next((average.tasks for average in record.averages if average.name == column), (column,))
