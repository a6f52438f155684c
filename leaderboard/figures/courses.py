"""What encoders scored on their way, row by row, with what the test pairs leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean

import numpy as np

from leaderboard.course import CoursePoint, read_course
from leaderboard.facts import Costs
from leaderboard.figures.entries import Entry
from leaderboard.records import Record
from leaderboard.replicates import Source, replicates_of
from leaderboard.spearman import FloatArray
from leaderboard.statistics import Interval

RESAMPLES = 1000  # a band is read by eye, and courses have many points

Scored = CoursePoint | Record


@dataclass(frozen=True)
class Course:
    """One row's way to its score.

    Attributes:
        entry: The row.
        seen: Examples seen at each point, the end last, mean over seeds.
        scores: The headline score at each.
        intervals: Their 95 % intervals over resampled pairs; None where the pairs are not at hand.
        changes: Examples seen where a stage follows another.
    """

    entry: Entry
    seen: tuple[float, ...]
    scores: tuple[float, ...]
    intervals: tuple[Interval | None, ...]
    changes: tuple[float, ...]


def read_courses(entries: Sequence[Entry], average: str, resamples: int = RESAMPLES) -> dict[str, list[Course]]:
    """Return the courses by budget label; a row has one where every seed was scored at the same points.

    Args:
        entries: The rows in table order.
        average: The headline score, an average or a task.
        resamples: How often pairs are resampled for the intervals.

    Raises:
        Problem: a point or its predictions are damaged.
    """
    found = [(entry, points) for entry in entries if (points := _points(entry, average))]
    # Rows that are comparable hold the same pairs, which are then drawn but once; a marked row may hold others.
    groups = [[each for entry, points in found if not entry.hollow for those in points for each in those]]
    groups += [[each for those in points for each in those] for entry, points in found if entry.hollow]
    replicates = {file: values for group in groups for file, values in _replicates(group, average, resamples).items()}
    courses: dict[str, list[Course]] = {}
    for entry, points in found:
        course = Course(
            entry,
            tuple(fmean(_seen(_costs(each)) for each in those) for those in points),
            tuple(fmean(_score(each, average) for each in those) for those in points),
            tuple(_interval([replicates.get(_folder(each)) for each in those]) for those in points),
            _changes(entry.row.records),
        )
        courses.setdefault(entry.row.first.budget.label, []).append(course)
    return courses


def _points(entry: Entry, average: str) -> list[tuple[Scored, ...]]:
    """Return a row's points, each of all seeds, and its end; nothing where seeds were not scored at the same ones."""
    seeds = [
        [point for point in read_course(record) if not np.isnan(_score(point, average))] for record in entry.row.records
    ]
    places = [[(point.stage, point.fraction) for point in points] for points in seeds]
    if not places[0] or any(each != places[0] for each in places):
        return []
    return [*zip(*seeds, strict=True), entry.row.records]


def _costs(each: Scored) -> Costs:
    return each.costs.attributed if isinstance(each, Record) else each.costs


def _folder(each: Scored) -> Path:
    return each.source.parent if isinstance(each, Record) else each.folder


def _seen(costs: Costs) -> float:
    return float(sum(costs.examples_seen.values()))


def _score(each: Scored, average: str) -> float:
    """Return the headline score of a point or a run, as ``Record`` would; NaN where it has none."""
    named = [it.score for it in each.averages if it.name == average]
    task = [it.score for it in each.scores if it.task == average]
    return named[0] if named else fmean(task) if task else float("nan")


def _changes(records: Sequence[Record]) -> tuple[float, ...]:
    """Return the examples seen where one stage ends and another begins; stages that see none are not counted."""
    seeds = []
    for record in records:
        seen = [stage for stage in (_seen(stage.costs) for stage in record.costs.stages) if stage > 0]
        seeds.append(list(accumulate(seen))[:-1])
    alike = all(len(each) == len(seeds[0]) for each in seeds)
    return tuple(map(fmean, zip(*seeds, strict=True))) if alike else ()


def _replicates(group: Sequence[Scored], average: str, resamples: int) -> Mapping[Path, FloatArray]:
    """Return the headline score of each under the same resamples of its tasks' pairs, by its folder.

    Args:
        group: Points and runs that hold the same pairs; those without all of them are left out.
        average: The headline score.
        resamples: How many.
    """
    tasks = next((it.tasks for each in group for it in each.averages if it.name == average), (average,))
    totals = {_folder(each): np.zeros(resamples) for each in group}
    for task in tasks:
        by_metric: dict[str, list[tuple[Path, float]]] = {}
        for each in group:
            scores = [it for it in each.scores if it.task == task]
            if len(scores) == 1 and _folder(each) in totals:
                by_metric.setdefault(scores[0].metric, []).append((_folder(each), scores[0].score))
        drawn: dict[Path, FloatArray] = {}
        for metric, those in by_metric.items():
            values = replicates_of([Source(*it) for it in those], task, metric, resamples)
            drawn |= {folder: value for (folder, _), value in zip(those, values, strict=True) if value is not None}
        totals = {folder: total + drawn[folder] / len(tasks) for folder, total in totals.items() if folder in drawn}
    return totals


def _interval(seeds: Sequence[FloatArray | None]) -> Interval | None:
    """Return the percentile interval of the mean over seeds."""
    known = [values for values in seeds if values is not None]
    if len(known) < len(seeds):
        return None
    low, high = np.percentile(np.mean(known, axis=0), (2.5, 97.5))
    return Interval(float(low), float(high))
