"""Scoring the points of a run's course, in a process of its own: weights of a snapshot, encoder, scores, point.json."""

from __future__ import annotations

import logging
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path

from genembench.problem import Problem
from methods.contract import Method, Stage
from methods.encoder import files_hash, make_encoder
from runners import interrupt
from runners.addresses import evaluation_address
from runners.course import Point, course_folder, points
from runners.interrupt import Interrupted
from runners.meter import Costs, total
from runners.outcomes import StageOutcome, attributed
from runners.output import write_json
from runners.progress import say
from runners.records import TaskResults, scored
from runners.scoring import Results, score_encoder
from runners.snapshots import costs_of, taken
from runners.spec import RunSpec
from runners.stages import FromFiles, finish_snapshot, read_stage
from runners.worker import classify, run_log, silence

SCHEMA = 1


def execute(spec: RunSpec) -> None:
    """Score what is missing of a run's course. Called in a process of its own, which ends with 1 where that failed."""
    interrupt.listen()
    interrupt.die_with_parent()
    silence()
    try:
        complete = _execute(spec)
    except (Problem, OSError) as error:
        raise SystemExit(f"{spec.label}: its course cannot be scored: {' '.join(str(error).split())}") from None
    raise SystemExit(0 if complete else 1)


def _execute(spec: RunSpec) -> bool:
    assert spec.method is not None
    entry, method = spec.method.resolve()
    stages = method.stages()
    wanted = [point for point in points(spec, stages) if not point.file(spec).exists()]
    absent = [_absent(spec, point) for point in wanted]
    for line in _explain(spec, stages, [(p, why) for p, why in zip(wanted, absent, strict=True) if why]):
        say(line)
    standing = [point for point, why in zip(wanted, absent, strict=True) if not why]
    if not standing:
        return True
    with run_log(spec.folder / "log.txt") as log:
        return _Course(spec, method, entry.source, log).score(standing)


def _absent(spec: RunSpec, point: Point) -> Path | None:
    """Return the stage's folder that lacks what the point is made of, None where all is there."""
    folders = [spec.output / "stages" / address for address in spec.stage_addresses[: point.stage + 1]]
    gone = next((folder for folder in folders if not folder.exists()), None)
    return gone or (None if point.step is None or point.step in taken(folders[-1]) else folders[-1])


def _explain(spec: RunSpec, stages: Sequence[Stage], absent: Sequence[tuple[Point, Path]]) -> list[str]:
    """Say of each stage whose points cannot be scored why not, and what would have to be done."""
    lines = []
    for position, folder in dict.fromkeys((point.stage, folder) for point, folder in absent):
        count = sum(point.stage == position for point, _ in absent)
        why = f"{folder} is not there any more"
        if folder.exists():
            why = f"it was trained without {count} of the snapshots of --evaluate-every {spec.evaluate_every}"
        lines.append(
            f"{spec.label}: the course lacks {count} points of stage {stages[position].name}: {why}. "
            f"Nothing is trained again for them unless {folder} and {spec.folder} are deleted."
        )
    return lines


class _Course:
    """Scoring points of one run."""

    def __init__(self, spec: RunSpec, method: Method, source: str, log: logging.Logger) -> None:
        self.spec = spec
        self.method = method
        self.source = source
        self.log = log
        self.stages = method.stages()
        self.folders = [spec.output / "stages" / address for address in spec.stage_addresses]
        self.outcomes: dict[int, list[StageOutcome]] = {}
        self.weights = course_folder(spec) / ".weights"

    def score(self, standing: Sequence[Point]) -> bool:
        """Score point after point; one that cannot be scored is left out. Return whether nothing worse happened."""
        fine = True
        for point in standing:
            label = f"{self.spec.label} at {100 * point.fraction:.3g} %"
            try:
                self._score(point, label)
            except Interrupted as error:
                self.log.info("%s: %s", label, error)
                return False
            except Exception as error:  # whatever a method or a library raises belongs in the log
                status, reason = classify(error)
                self.log.error("%s: %s: %s\n%s", label, status, reason, traceback.format_exc())
                say(f"{label}: {status}: {reason}; the course goes on without this point")
                # Vectors that cannot be scored are a fact about this place of the course, and no failure of ours.
                fine = fine and status == "diverged"
            finally:
                shutil.rmtree(self.weights, ignore_errors=True)
        return fine

    def _score(self, point: Point, label: str) -> None:
        spec = self.spec
        assert spec.method is not None
        assert spec.benchmark is not None
        *before, own = [outcome for position in range(point.stage + 1) for outcome in self._stage(position)]
        weights, costs, content = own.weights, own.costs, own.content
        if point.step is not None:
            snapshot = taken(self.folders[point.stage])[point.step]
            costs = costs_of(snapshot)
            weights, content = self._finish(point, snapshot)
        encoder = make_encoder(
            spec.method.name,
            self.method,
            self.source,
            weights,
            content=content,
            device=spec.engine.device,
            precision=spec.engine.precision,
        )
        where = evaluation_address(encoder.address, spec.benchmark.address, encoder.precision)
        file = point.file(spec)
        results = score_encoder(encoder, spec.benchmark, TaskResults(file.parent, where), label)
        write_json(file, self._point(point, total([*attributed(before), costs]), results))

    def _stage(self, position: int) -> list[StageOutcome]:
        """Outcomes of a stage, read and checked once."""
        if position not in self.outcomes:
            stage, address = self.stages[position], self.spec.stage_addresses[position]
            self.outcomes[position] = read_stage(stage, address, self.folders[position], self.spec.run)
        return self.outcomes[position]

    def _finish(self, point: Point, snapshot: Path) -> tuple[Path, str]:
        """Make plain weights of a snapshot, from what its stage started from; return their folder and hash."""
        spec = self.spec
        assert spec.backbone is not None
        shutil.rmtree(self.weights, ignore_errors=True)
        start = self.folders[point.stage - 1] / "weights" if point.stage else spec.backbone.folder
        finish_snapshot(
            self.stages[point.stage],
            snapshot,
            self.weights,
            start=FromFiles(spec.backbone.folder, start, spec.engine),
            seed=spec.seed,
        )
        return self.weights, files_hash(self.weights)

    def _point(self, point: Point, costs: Costs, results: Results) -> dict[str, object]:
        """Return ``point.json`` as `leaderboard.course` reads it."""
        assert self.spec.benchmark is not None
        return {
            "schema": SCHEMA,
            "stage": self.stages[point.stage].name,
            "fraction": point.fraction,
            "costs": costs.to_json(),
            **scored(self.spec.benchmark, results),
        }
