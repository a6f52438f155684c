"""The scores of runs under the same resamples of a task's pairs, from their predictions or from a packed record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genembench.problem import Problem
from leaderboard.facts import TaskScore
from leaderboard.files import write_atomically
from leaderboard.packed import FILE, Packed, packed_bytes, read_packed
from leaderboard.predictions import FOLDER, Predictions, read_predictions
from leaderboard.resampling import Counts, resamples
from leaderboard.spearman import FloatArray, Spearman

SPEARMAN = "cosine_spearman"
# How far a score from predictions may be from the recorded one, x100. Predictions have nine digits, which may order two
# nearly equal cosines otherwise; mteb rounds the means of retrieval metrics to five digits.
TOLERANCES = {SPEARMAN: 1e-4}
TOLERANCE = 1e-3
# Scores of queries are counted in these, so that their sums are exact and the same on every machine.
UNIT = 1e9
Held = Predictions | Packed


@dataclass(frozen=True)
class Source:
    """Where a run's predictions of a task are, and the score x100 that they must have (None: any)."""

    folder: Path
    score: float | None = None


def replicates(
    folder: Path, task: str, metric: str, n_resamples: int = 10_000, *, score: float | None = None
) -> FloatArray | None:
    """Return a run's score of a task under each resample; see ``replicates_of``, which is faster for several runs."""
    return replicates_of([Source(folder, score)], task, metric, n_resamples)[0]


def replicates_of(
    sources: Sequence[Source], task: str, metric: str, n_resamples: int = 10_000
) -> list[FloatArray | None]:
    """Return the score x100 of each run under the same resamples of a task's pairs.

    The resamples depend on the task's name and its number of pairs only, so what is computed in several calls, in
    several comparisons or on several machines may be compared pair by pair. The numbers are rounded to float32, as
    packed records hold them: a table is the same to the last digit whether its records are packed or not.

    Args:
        sources: The runs; where both predictions and packed replicates are there, the predictions count.
        task: Name of the task.
        metric: Its metric; from predictions of pairs only ``cosine_spearman`` can be computed, queries have means.
        n_resamples: How many resamples.

    Returns:
        For each run ``[n_resamples]``, or None where it has neither predictions nor packed replicates of the task, or
        where these are of one pair only.

    Raises:
        Problem: a file is damaged, does not belong to its record, has other pairs than the others, or was packed with
            fewer resamples.
    """
    evidence = [_evidence(source, task, metric) for source in sources]
    present = [each for each in evidence if each is not None]
    _refuse_other_pairs(present, task)
    found = iter(_replicates(present, task, n_resamples))
    return [None if each is None else next(found) for each in evidence]


def _replicates(evidence: Sequence[Held], task: str, n_resamples: int) -> list[FloatArray]:
    """Return the replicates of runs over the same pairs: those that are stored, and the others computed together."""
    read = [each for each in evidence if isinstance(each, Predictions)]
    computed = iter(_resample(read, task, n_resamples) if read else [])
    return [_stored(each, n_resamples) if isinstance(each, Packed) else next(computed) for each in evidence]


def _stored(packed: Packed, n_resamples: int) -> FloatArray:
    """Return the first replicates of a packed run."""
    if len(packed.replicates) < n_resamples:
        raise Problem(
            f"{packed.file} holds {len(packed.replicates):,} resamples of {packed.task}, {n_resamples:,} are asked for",
            f"Ask for at most {len(packed.replicates):,} (--resamples), or for packed records with more.",
        )
    return packed.replicates[:n_resamples]


def _evidence(source: Source, task: str, metric: str) -> Held | None:
    """Read what a run has of a task, and check that it belongs to the run's record."""
    predictions = read_predictions(source.folder, task)
    if predictions is None:
        packed = read_packed(source.folder, task)
        if packed is None or packed.metric != metric:
            return None
        _check_score(source, packed.score, packed.file, task, metric)
        return packed
    # A single pair is all that could be drawn from it: resampling would claim that there is no doubt.
    if len(predictions.ids) < 2 or (predictions.gold is not None and metric != SPEARMAN):
        return None
    _check_score(source, _score(predictions), predictions.file, task, metric)
    return predictions


def _check_score(source: Source, found: float, file: Path, task: str, metric: str) -> None:
    """Refuse predictions that do not give the recorded score."""
    if source.score is not None and not abs(found - source.score) <= TOLERANCES.get(metric, TOLERANCE):
        raise Problem(
            f"{file} does not belong to its record: the {task} predictions give {found:.4f}, the record says "
            f"{source.score:.4f}",
            f"Run it again, or delete {FOLDER} and {FILE}: the run then has no intervals.",
        )


def _refuse_other_pairs(evidence: Sequence[Held], task: str) -> None:
    """Refuse runs whose pairs are not the same ones in the same order."""
    for each in evidence[1:]:
        if each.address != evidence[0].address:
            raise Problem(
                f"{_folder(evidence[0])} and {_folder(each)} hold predictions of different {task} pairs",
                "Differences between runs are computed pair by pair: give only runs with the same data, in its order.",
            )


def _folder(evidence: Held) -> Path:
    """Return the folder of the run."""
    return evidence.file.parent if isinstance(evidence, Packed) else evidence.file.parent.parent


def _score(predictions: Predictions) -> float:
    """Return the score x100 of all pairs, each once."""
    once = np.ones((len(predictions.ids), 1), np.uint32)
    return float(100 * _scorer([predictions])(once)[0, 0])


def _resample(predictions: Sequence[Predictions], task: str, n_resamples: int) -> list[FloatArray]:
    """Return the score x100 of predictions over the same pairs under each resample."""
    scorer = _scorer(predictions)
    drawn = resamples(task, len(predictions[0].ids), n_resamples)
    scores = 100 * np.concatenate([scorer(counts) for counts in drawn], axis=1)
    return list(scores.astype(np.float32).astype(np.float64))


def _scorer(predictions: Sequence[Predictions]) -> Callable[[Counts], FloatArray]:
    """Return what makes scores ``[runs, b]`` of counts ``[n, b]``: correlations of pairs, means of queries."""
    gold = predictions[0].gold
    if gold is not None:
        return Spearman(gold, [each.scores for each in predictions])
    units = np.stack([np.rint(each.scores * UNIT) for each in predictions])

    def means(counts: Counts) -> FloatArray:
        found: FloatArray = units @ counts.astype(np.float64) / (len(counts) * UNIT)
        return found

    return means


@dataclass(frozen=True)
class Packing:
    """What is to be packed: the folder of a run or of a point of its course, where to, and what its record says."""

    folder: Path
    destination: Path
    scores: Sequence[TaskScore]


def write_replicates(
    folder: Path, destination: Path, scores: Sequence[TaskScore], *, resamples: int = 10_000
) -> Path | None:
    """Pack one run or point; see ``write_all_replicates``, which is many times as fast for many."""
    return write_all_replicates([Packing(folder, destination, scores)], resamples=resamples)[0]


def write_all_replicates(packings: Sequence[Packing], *, resamples: int = 10_000) -> list[Path | None]:
    """Write ``replicates.npz`` with what resampling each run's predictions gives, without their gold scores.

    Args:
        packings: Runs and points, which may be packed already. Tasks without predictions are left out, and those with
            several subsets or splits.
        resamples: How many to keep.

    Returns:
        The file of each; None where no task has predictions.

    Raises:
        Problem: as ``replicates_of``, but runs with other pairs may be packed together.
    """
    jobs: dict[tuple[str, str, str], list[tuple[int, Held]]] = {}
    for at, packing in enumerate(packings):
        parts = Counter(score.task for score in packing.scores)
        for score in packing.scores:
            source = Source(packing.folder, score.score)
            evidence = _evidence(source, score.task, score.metric) if parts[score.task] == 1 else None
            if evidence is not None:
                jobs.setdefault((score.task, score.metric, evidence.address), []).append((at, evidence))
    packed: list[dict[str, Packed]] = [{} for _ in packings]
    for (task, metric, _), those in jobs.items():
        found = _replicates([evidence for _, evidence in those], task, resamples)
        for (at, each), values in zip(those, found, strict=True):
            n = each.pairs if isinstance(each, Packed) else len(each.ids)
            whole = each.score if isinstance(each, Packed) else _score(each)
            packed[at][task] = Packed(each.file, task, metric, n, each.address, whole, values)
    return [_write(packing, tasks) for packing, tasks in zip(packings, packed, strict=True)]


def _write(packing: Packing, tasks: Mapping[str, Packed]) -> Path | None:
    """Write one file, its tasks in the order of the record, unless there is nothing to write."""
    ordered = [tasks[score.task] for score in packing.scores if score.task in tasks]
    return write_atomically(packing.destination / FILE, packed_bytes(ordered)) if ordered else None
