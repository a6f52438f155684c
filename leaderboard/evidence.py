"""The replicates of every run of a table: computed for all runs of a task together, once, when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from leaderboard.facts import TaskScore
from leaderboard.predictions import FOLDER
from leaderboard.records import Record
from leaderboard.replicates import Source, replicates_of
from leaderboard.rows import Row
from leaderboard.spearman import FloatArray


class Evidence:
    """Scores of runs under resamples of the pairs.

    Args:
        rows: The rows of a table. Those without a mark must hold the same pairs; a marked row may have other data.
        resamples: How often the pairs of each task are resampled.
        progress: Told one line for each task whose pairs are resampled.
    """

    def __init__(self, rows: Sequence[Row], resamples: int, progress: Callable[[str], None] | None = None) -> None:
        self.resamples = resamples
        self._progress = progress
        marked = [list(row.records) for row in rows if row.mark]
        self._groups = [[record for row in rows if not row.mark for record in row.records], *marked]
        self._known: dict[str, dict[Path, FloatArray | None]] = {}
        self._stacked: dict[tuple[str, tuple[Path, ...]], FloatArray] = {}

    def of(self, records: Sequence[Record], task: str) -> FloatArray | None:
        """Return the scores of runs of a task, x100, under each resample ``[runs, resamples]``.

        None where one of them has no predictions.

        Args:
            records: Some of the rows' records.
            task: Name of the task.

        Raises:
            Problem: as ``leaderboard.replicates.replicates_of``.
        """
        if task not in self._known:
            found: dict[Path, FloatArray | None] = {}
            for group in self._groups:
                found |= self._compute(group, task)
            self._known[task] = found
        each = [self._known[task].get(record.source) for record in records]
        present = [replicates for replicates in each if replicates is not None]
        if len(present) < len(each):
            return None
        if len(present) == 1:
            return present[0][None]
        key = (task, tuple(record.source for record in records))
        return self._stacked.setdefault(key, np.stack(present))

    def _compute(self, records: Sequence[Record], task: str) -> dict[Path, FloatArray | None]:
        """Resample the pairs of one task for runs that share them."""
        sources: dict[str, list[tuple[Path, Source]]] = {}
        for record in records:
            if (score := _only_score(record, task)) is not None:
                source = Source(record.source.parent, score.score)
                sources.setdefault(score.metric, []).append((record.source, source))
        found: dict[Path, FloatArray | None] = {}
        for metric, those in sources.items():
            fresh = sum((source.folder / FOLDER / f"{task}.csv").is_file() for _, source in those)
            if fresh and self._progress:
                self._progress(f"resampling {task} {self.resamples:,} times for {fresh} run{'s' if fresh > 1 else ''}")
            replicates = replicates_of([source for _, source in those], task, metric, self.resamples)
            found |= {file: each for (file, _), each in zip(those, replicates, strict=True)}
        return found


def _only_score(record: Record, task: str) -> TaskScore | None:
    """Return what a record says of a task; None where that is several subsets or splits, or nothing."""
    scores = [score for score in record.scores if score.task == task]
    return scores[0] if len(scores) == 1 else None
