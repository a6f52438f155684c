"""A run scored on its way: ``course/NN/`` of a run folder, as ``compare --evaluate-every`` leaves it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from genembench.problem import Problem
from leaderboard.facts import Costs, NamedAverage, TaskScore
from leaderboard.records import Record
from leaderboard.schema import parse

FILE = "point.json"


@dataclass(frozen=True, kw_only=True)
class CoursePoint:
    """What the encoder scored after a part of its training, with what that part cost (attributed).

    ``folder`` holds its ``predictions/``, like a run's own folder.
    """

    schema: int
    stage: str
    fraction: float
    costs: Costs
    scores: tuple[TaskScore, ...]
    averages: tuple[NamedAverage, ...]
    folder: Path = field(default=Path(), init=False, compare=False)


def read_course(record: Record) -> list[CoursePoint]:
    """Return the points before a run's end in the order of training; the end is the record itself.

    Raises:
        Problem: a point is damaged.
    """
    points = []
    for file in sorted((record.source.parent / "course").glob(f"[0-9]*/{FILE}")):
        try:
            point = parse(CoursePoint, json.loads(file.read_text(encoding="utf-8")), file)
        except ValueError as error:
            raise Problem(f"{file} is not readable JSON: {error}", "Run it again or leave this folder out.") from None
        object.__setattr__(point, "folder", file.parent)
        points.append(point)
    return points
