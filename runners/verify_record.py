"""What a record says against itself: its name, its sums, its averages, and the predictions that its scores are of."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from statistics import fmean

from benchmarks.averages import NAMED_AVERAGES
from benchmarks.query_scores import ROUNDED
from leaderboard.facts import Costs, TaskScore
from leaderboard.records import Record
from runners.checklist import Checklist
from runners.meter import Costs as Account
from runners.meter import total

PART = "record"
SAME = 1e-4
"""Scores (x100) that say the same: predictions are written with nine digits."""


def check_record(record: Record, found: Checklist) -> None:
    """Check everything that the run's folder itself can answer."""
    found.add(PART, "readable", "ok", f"schema {record.schema}, {record.status}, {len(record.scores)} scores")
    found.judge(
        PART,
        "name",
        record.source.parent.name == record.run,
        f"folder and record are both called {record.run}",
        f"the folder is called {record.source.parent.name}, the record says {record.run}",
    )
    _check_costs(record, found)
    _check_averages(record, found)
    _check_task_files(record, found)
    _check_predictions(record, found)


def _check_costs(record: Record, found: Checklist) -> None:
    stages = record.costs.stages
    for name, claimed, paid in (
        ("attributed", record.costs.attributed, stages),
        ("spent", record.costs.spent, [stage for stage in stages if not stage.reused]),
    ):
        summed = total(_account(stage.costs) for stage in paid)
        found.judge(
            PART,
            f"costs {name}",
            summed == _account(claimed),
            f"the sum of its stages: {len(paid)}",
            f"the record claims {claimed}, its {len(paid)} stages add up to {summed}",
        )


def _account(costs: Costs) -> Account:
    return Account(
        dict(costs.unique_examples),
        dict(costs.examples_seen),
        costs.real_tokens,
        costs.padded_tokens,
        costs.optimizer_steps,
        costs.model_flops,
        costs.training_seconds,
        costs.peak_memory_bytes,
    )


def _check_averages(record: Record, found: Checklist) -> None:
    scores = record.task_scores()
    for average in record.averages:
        lacking = [task for task in average.tasks if task not in scores]
        named = NAMED_AVERAGES.get(average.name)
        if lacking or (named is not None and set(named) != set(average.tasks)):
            found.add(PART, average.name, "differs", f"it is not of its tasks: {', '.join(average.tasks)}")
            continue
        mean = fmean(scores[task] for task in average.tasks)
        found.judge(
            PART,
            average.name,
            math.isclose(mean, average.score, rel_tol=0, abs_tol=1e-9),
            f"{mean:.4f}, the mean of its {len(average.tasks)} tasks",
            f"the record claims {average.score:.4f}, the mean of its {len(average.tasks)} tasks is {mean:.4f}",
        )


def _check_task_files(record: Record, found: Checklist) -> None:
    """Compare with ``tasks/``, which were written before the record, one by one."""
    name, wrong, there = "scores and task files", [], 0
    for score in record.scores:
        try:
            stored = json.loads((record.source.parent / "tasks" / f"{score.task}.json").read_text(encoding="utf-8"))
            then, address = stored["score"]["score"], stored["evaluation_address"]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            wrong.append(f"{score.task}.json cannot be read")
            continue
        there += 1
        if then != score.score:
            wrong.append(f"{score.task} is {score.score:.4f} in the record and {then:.4f} in its file")
        if address != record.evaluation_address:
            wrong.append(f"{score.task}.json is of another encoder or benchmark")
    if wrong:
        found.add(PART, name, "differs", "; ".join(wrong))
    elif there:
        found.add(PART, name, "ok", f"equal in {there} of {len(record.scores)} tasks")
    else:
        found.add(PART, name, "unchecked", "the folder has no tasks/")


def _check_predictions(record: Record, found: Checklist) -> None:
    """Compute each score anew from its predictions."""
    name, right, missing, largest = "scores and predictions", 0, [], 0.0
    for score in record.scores:
        file = record.source.parent / "predictions" / f"{score.task}.csv"
        if not file.is_file():
            missing.append(score.task)
            continue
        try:
            again, tolerance = rescored(file, score)
        except (OSError, ValueError, KeyError) as error:
            found.add(PART, name, "differs", f"{file.name} does not hold {score.task}'s predictions: {error}")
            continue
        apart = abs(again - score.score)
        if not apart <= tolerance:
            what = f"{score.task} is {score.score:.4f} in the record, its predictions make {again:.4f}"
            found.add(PART, name, "differs", what)
            continue
        right, largest = right + 1, max(largest, apart)
    if right:
        found.add(PART, name, "ok", f"{right} tasks scored again from their predictions, at most {largest:.1e} apart")
    if missing:
        found.add(PART, name, "unchecked", f"no predictions of {', '.join(missing)}")


def rescored(file: Path, score: TaskScore) -> tuple[float, float]:
    """Compute a score, x100, from a file of predictions; return it with how far the record's may be from it.

    Raises:
        ValueError: the file is not of this task's kind, or of another number of pairs.
    """
    from scipy.stats import spearmanr

    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    values = [float(row["score"]) for row in rows]
    if rows and "query" in rows[0]:
        return 100 * fmean(values), 100 * ROUNDED + SAME
    if len(rows) != score.pairs:
        raise ValueError(f"{len(rows)} rows, the record says {score.pairs}")
    if not score.metric.endswith("spearman"):
        raise ValueError(f"pairs, but the task is scored by {score.metric}")
    return 100 * float(spearmanr([float(row["gold"]) for row in rows], values)[0]), SAME
