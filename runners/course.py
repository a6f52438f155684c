"""The course of a run: its encoder on the way of its training, scored as at the end (as Figure 3 of arXiv 2502.11401).

The course is all examples that the run's stages will see, one stage after the other. Snapshots belong to the stage and
not to the run, as stages are shared: they lie at multiples of the fraction of each stage's own course. The end of every
stage but the last is a point too; the end of the last is the run's record.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from methods.contract import Method, Stage
from runners.plan import is_done
from runners.processes import finish
from runners.progress import say
from runners.snapshots import snapshot_steps, taken
from runners.spec import MethodChoice, RunSpec

FILE = "point.json"


@dataclass(frozen=True)
class Point:
    """A place in the course.

    Attributes:
        stage: Position of the stage.
        step: Optimizer steps of that stage; None is its end.
        seen: Examples seen by all stages until here.
        fraction: The same as a share of the whole course.
    """

    stage: int
    step: int | None
    seen: int
    fraction: float

    def file(self, spec: RunSpec) -> Path:
        """Where its scores stand: by examples seen, so that another fraction's points find their places between."""
        return course_folder(spec) / f"{self.seen:09d}" / FILE


def course_folder(spec: RunSpec) -> Path:
    """Where the points of a run stand."""
    return spec.folder / "course"


def points(spec: RunSpec, stages: Sequence[Stage]) -> list[Point]:
    """Return the points of a run's course in order; none where nothing is trained or no course was asked for."""
    if spec.evaluate_every is None:
        return []
    counts = [len(spec.data[stage.data].rows) for stage in stages]
    lengths = [count * stage.recipe.epochs for count, stage in zip(counts, stages, strict=True)]
    found: list[tuple[int, int | None, int]] = []
    for position, (stage, count) in enumerate(zip(stages, counts, strict=True)):
        before = sum(lengths[:position])
        steps = snapshot_steps(count, stage.recipe, spec.evaluate_every)
        found += [(position, step, before + seen) for step, seen in steps.items()]
        found.append((position, None, before + lengths[position]))
    return [Point(*place, place[-1] / sum(lengths)) for place in found[:-1]]


def describe(plan: Sequence[RunSpec], methods: Sequence[tuple[MethodChoice, Method]]) -> str:
    """Say for ``--dry-run`` what the courses of a plan cost beside training: snapshots on disk, points to score."""
    snapshots: set[tuple[str, int]] = set()
    total, largest = 0, 0
    for spec in plan:
        method = next((method for choice, method in methods if choice == spec.method), None)
        for point in points(spec, method.stages()) if method is not None else []:
            address = spec.stage_addresses[point.stage]
            folder = spec.output / "stages" / address
            coming = not folder.exists() and not is_done(spec)
            if coming and point.step is not None:
                snapshots.add((address, point.step))
            stands = folder.exists() if point.step is None else point.step in taken(folder)
            total += (coming or stands) and not point.file(spec).exists()
        largest = max(largest, 4 * spec.backbone.parameters if spec.backbone is not None else 0)
    return (
        f"--evaluate-every: {total} points on the way to be scored, {len(snapshots)} snapshots to be kept in stages/ "
        f"(each at most {largest / 1e6:,.0f} MB, with adapters much less)"
    )


def score_course(spec: RunSpec) -> bool:
    """Score the points of a finished run that have no scores yet, in a process of its own; return whether that worked.

    The run's record is not touched. A stage that was trained without snapshots is not trained again: it has no points.

    Raises:
        KeyboardInterrupt: after the process has been stopped; what it has scored stays.
    """
    if spec.evaluate_every is None or not spec.stage_addresses:
        return True
    process = multiprocessing.get_context("forkserver").Process(
        target=_execute, args=(spec,), name=f"{spec.run} course"
    )
    if finish([process]):
        raise KeyboardInterrupt
    if process.exitcode:
        say(f"{spec.label}: its course is not complete; see {spec.folder / 'log.txt'}. The same command goes on there.")
    return process.exitcode == 0


def _execute(spec: RunSpec) -> None:
    # As in runners.processes: the child has the worker loaded, this process never needs it.
    from runners.course_worker import execute

    execute(spec)
