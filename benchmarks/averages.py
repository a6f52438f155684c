"""The English STS tasks and the averages that have a name; every other average says over what it was taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

STS_TASKS: tuple[str, ...] = (
    "BIOSSES",
    "SICK-R",
    "STS12",
    "STS13",
    "STS14",
    "STS15",
    "STS16",
    "STS17",
    "STS22",
    "STSBenchmark",
)
"""MTEB's names of the ten English STS tasks."""

NAMED_AVERAGES: Mapping[str, tuple[str, ...]] = {
    "Avg(7)": ("STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R"),
    "Avg(9)": tuple(task for task in STS_TASKS if task != "STS22"),
    "Avg(10)": STS_TASKS,
}
"""Task names of each named average; Avg(9) leaves out STS22, which measures truncation more than similarity."""

_SPELLED_OUT = 3


@dataclass(frozen=True)
class Average:
    """An unweighted mean of task scores, in the unit of the scores, not rounded."""

    name: str
    tasks: tuple[str, ...]
    score: float


def averages(scores: Mapping[str, float], named: Mapping[str, Sequence[str]] = NAMED_AVERAGES) -> list[Average]:
    """Average task scores under the only names they deserve.

    Args:
        scores: Main score by task name; a task without a score is left out.
        named: The benchmark's averages: name to tasks.

    Returns:
        Every named average all of whose tasks are there. If there is none, one mean over what is there, named
        ``Mean(STS16,STS17)`` (up to three tasks) or ``Mean(of 5)``; nothing for fewer than two tasks.

    Raises:
        ValueError: A score is not a number. A missing score must be missing, not NaN.
    """
    bad = [task for task, score in scores.items() if not math.isfinite(score)]
    if bad:
        raise ValueError(f"not a score: {', '.join(f'{task} {scores[task]}' for task in bad)}")
    full = [
        Average(name, tuple(tasks), fmean(scores[task] for task in tasks))
        for name, tasks in named.items()
        if all(task in scores for task in tasks)
    ]
    if full or len(scores) < 2:
        return full
    tasks = (*(task for task in STS_TASKS if task in scores), *sorted(set(scores) - set(STS_TASKS)))
    over = ",".join(tasks) if len(tasks) <= _SPELLED_OUT else f"of {len(tasks)}"
    return [Average(f"Mean({over})", tasks, fmean(scores[task] for task in tasks))]
