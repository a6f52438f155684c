"""`compare --evaluate-every`: points of a run's course, scored beside the run and never charged to it."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.protocol import UnusableVectorsError
from leaderboard.course import CoursePoint, read_course
from leaderboard.records import Record, read_records
from runners import course_worker
from runners.compare import parser
from runners.course import describe
from runners.options import parse
from runners.prepare import Prepared
from runners.records import TaskResults
from runners.scoring import score_encoder
from runners.spec import RunSpec
from runners.tune_runs import plan_tuning
from tests.runners.in_process import plan, prepared, run, score_course

ONE, TWO = "infonce-mean", "autoregembed"
BATCHES = {ONE: "batch_size", TWO: "align_batch_size"}


@dataclass(frozen=True)
class World:
    """Comparisons of a method with one stage and of one with two, all alike but for the options given."""

    backbone: Path
    triplets: Path
    instruct: Path
    sts: Path

    def arguments(self, output: Path, *more: str, methods: str = f"{ONE},{TWO}") -> list[str]:
        return [
            f"--methods={methods}",
            f"--backbone={self.backbone}",
            f"--triplets={self.triplets}",
            f"--instruct={self.instruct}",
            # 60 triplets in batches of 10: six steps. 24 instructs twice in batches of 8: six steps of another stage.
            "--budget=triplets=60,instruct=24",
            "--preset=small",
            *(f"--set={name}.{key}=10" for name, key in BATCHES.items() if name in methods.split(",")),
            f"--data-dir={self.sts}",
            "--tasks=STS17,BIOSSES",
            "--device=cpu",
            f"--output={output}",
            *more,
        ]

    def prepared(self, output: Path, *more: str, methods: str = f"{ONE},{TWO}") -> Prepared:
        return prepared(self.arguments(output, *more, methods=methods))

    def plan(self, output: Path, *more: str, methods: str = f"{ONE},{TWO}") -> list[RunSpec]:
        return plan(self.arguments(output, *more, methods=methods))


@pytest.fixture(scope="module")
def world(tiny_backbone: Path, tiny_triplets: Path, tiny_instruct: Path, tiny_sts: Path) -> World:
    return World(tiny_backbone, tiny_triplets, tiny_instruct, tiny_sts)


@pytest.fixture(scope="module")
def quarters(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both methods, with the course of quarters; tests only read it, or copy it."""
    output = tmp_path_factory.mktemp("course") / "quarters"
    for spec in world.plan(output, "--evaluate-every=0.25"):
        run(spec)
        assert score_course(spec)
    return output


@pytest.fixture(scope="module")
def plain(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a course."""
    output = tmp_path_factory.mktemp("course") / "plain"
    for spec in world.plan(output):
        run(spec)
    return output


def courses(output: Path) -> dict[str, tuple[Record, list[CoursePoint]]]:
    return {record.method.name: (record, read_course(record)) for record in read_records([output])}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    found = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def test_the_points_of_one_stage_and_of_two(quarters: Path) -> None:
    found = courses(quarters)
    # Quarters of 60 are 15, 30 and 45, and steps end at 10, 20, 30, ...
    assert [point.stage for point in found[ONE][1]] == ["contrast"] * 3
    assert [point.fraction for point in found[ONE][1]] == pytest.approx([20 / 60, 30 / 60, 50 / 60])
    # Quarters of 48 are 12, 24 and 36, and steps end at 8, 16, 24, ...; then comes the end of the stage.
    assert [point.stage for point in found[TWO][1]] == ["compress"] * 4 + ["align"] * 3
    seen = [16, 24, 40, 48, 48 + 20, 48 + 30, 48 + 50]
    assert [point.fraction for point in found[TWO][1]] == pytest.approx([one / (48 + 60) for one in seen])
    assert [path.name for path in sorted((found[ONE][0].source.parent / "course").iterdir())] == [
        "000000020",
        "000000030",
        "000000050",
    ]


def test_scores_are_those_of_the_predictions_and_move(quarters: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    for record, points in courses(quarters).values():
        assert points
        for point in points:
            assert [one.task for one in point.scores] == ["BIOSSES", "STS17"]
            for one in point.scores:
                with (point.folder / "predictions" / f"{one.task}.csv").open() as file:
                    pairs = [(float(row["gold"]), float(row["score"])) for row in csv.DictReader(file)]
                assert len(pairs) == one.pairs == 30
                assert one.score == pytest.approx(100 * stats.spearmanr(*zip(*pairs, strict=True)).statistic, abs=1e-4)
            (average,) = point.averages
            assert average.score == pytest.approx(sum(one.score for one in point.scores) / 2)
        cosines = [
            (folder / "predictions" / "STS17.csv").read_text()
            for folder in [*(point.folder for point in points), record.source.parent]
        ]
        assert len(set(cosines)) == len(cosines)


def test_costs_are_attributed_rise_and_stay_below_the_runs(quarters: Path) -> None:
    for record, points in courses(quarters).values():
        along = [*(point.costs for point in points), record.costs.attributed]
        for field in ("training_seconds", "real_tokens", "model_flops", "optimizer_steps"):
            values = [getattr(costs, field) for costs in along]
            assert values == sorted(set(values)), field
    record, points = courses(quarters)[TWO]
    by_name = {stage.name: stage.costs for stage in record.costs.stages}
    assert list(by_name) == ["compress", "align: preparation", "align"]
    # The end of the first stage: all of it, and nothing of what comes behind.
    assert points[3].costs == by_name["compress"]
    # Behind it all of the preparation and so much of the stage.
    steps = [json.loads(line) for line in _metrics(quarters, record, "align")]
    before = by_name["compress"].training_seconds + by_name["align: preparation"].training_seconds
    assert [point.costs.training_seconds for point in points[4:]] == [
        pytest.approx(before + steps[step - 1]["seconds"]) for step in (2, 3, 5)
    ]
    assert [point.costs.examples_seen for point in points[3:]] == [
        {"instruct": 48} | ({"triplets": seen} if seen else {}) for seen in (0, 20, 30, 50)
    ]


def _metrics(output: Path, record: Record, stage: str) -> list[str]:
    (address,) = [one.address for one in record.costs.stages if one.name == stage]
    return (output / "stages" / address / "metrics.jsonl").read_text().splitlines()


def test_runs_weights_and_scores_are_as_without(quarters: Path, plain: Path) -> None:
    stages = {path.name for path in (plain / "stages").iterdir()}
    assert {path.name for path in (quarters / "stages").iterdir()} == stages
    for name in stages:
        one, other = (output / "stages" / name for output in (quarters, plain))
        for file in (other / "weights").glob("*") if (other / "weights").exists() else []:
            assert (one / "weights" / file.name).read_bytes() == file.read_bytes()
    for with_course, without in zip(read_records([quarters]), read_records([plain]), strict=True):
        assert with_course.run == without.run
        assert with_course.scores == without.scores
        assert with_course.costs.evaluation is not None
        assert without.costs.evaluation is not None
        assert with_course.costs.evaluation.texts == without.costs.evaluation.texts
        assert with_course.costs.evaluation.tokens == without.costs.evaluation.tokens
        assert not (without.source.parent / "course").exists()
        assert "evaluate_every" not in without.configuration


def test_a_runs_own_record_asks_for_the_course_again(quarters: Path) -> None:
    for record, _ in courses(quarters).values():
        assert parse(parser(), ["--config", str(record.source)]).evaluate_every == 0.25


def test_nothing_is_done_twice(world: World, quarters: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(quarters, output)
    before = files(output)
    # Half of every stage is among its quarters.
    for every in ("0.25", "0.5"):
        for spec in world.plan(output, f"--evaluate-every={every}"):
            assert score_course(spec)
    assert files(output) == before


def test_a_stage_without_snapshots_is_not_trained_again(
    world: World, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(plain, output)
    before = files(output / "stages")
    one, two = world.plan(output, "--evaluate-every=0.25")
    assert score_course(one)
    assert score_course(two)
    assert files(output / "stages") == before
    found = courses(output)
    assert found[ONE][1] == []
    # The end of a stage needs no snapshot.
    (end,) = found[TWO][1]
    assert end.stage == "compress"
    assert end.fraction == pytest.approx(48 / (48 + 60))
    said = capsys.readouterr().err
    assert (
        f"{one.label}: the course lacks 3 points of stage contrast: it was trained without 3 of the snapshots" in said
    )
    assert f"unless {output / 'stages' / one.stage_addresses[0]} and {one.folder} are deleted" in said
    assert "the course lacks 3 points of stage compress" in said
    assert "the course lacks 3 points of stage align" in said

    # What is said to help helps.
    shutil.rmtree(output / "stages" / one.stage_addresses[0])
    shutil.rmtree(one.folder)
    run(one)
    assert score_course(one)
    assert len(courses(output)[ONE][1]) == 3


def test_finer_fractions_later_score_what_there_is(
    world: World, quarters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(quarters, output)
    (spec,) = world.plan(output, "--evaluate-every=0.1", methods=ONE)
    before = read_course(read_records([spec.folder])[0])
    assert score_course(spec)
    # Of 10, 20, ..., 50 examples the quarters have all but the first and the fourth.
    assert "lacks 2 points of stage contrast" in capsys.readouterr().err
    assert read_course(read_records([spec.folder])[0]) == before


def test_other_runs_find_the_snapshots_of_a_shared_stage(world: World, quarters: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(quarters, output)
    before = files(output / "stages")
    for spec in world.plan(output, "--evaluate-every=0.25", "--tasks=STS16,STS17"):
        run(spec)
        assert score_course(spec)
        (record,) = read_records([spec.folder])
        assert record.costs.spent.optimizer_steps == 0
        (same,) = [r for r in read_records([quarters]) if r.method.name == record.method.name]
        for point, other in zip(read_course(record), read_course(same), strict=True):
            assert point.costs == other.costs
            by_task = {one.task: one.score for one in other.scores}
            assert {one.task: one.score for one in point.scores}["STS17"] == by_task["STS17"]
    assert files(output / "stages") == before


def test_stages_that_were_deleted_stay_so(
    world: World, quarters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(quarters, output)
    (spec,) = world.plan(output, "--evaluate-every=0.25", methods=TWO)
    shutil.rmtree(spec.folder / "course")
    shutil.rmtree(output / "stages" / spec.stage_addresses[1])
    assert score_course(spec)
    assert [point.stage for point in courses(output)[TWO][1]] == ["compress"] * 4
    assert not (output / "stages" / spec.stage_addresses[1]).exists()
    assert "lacks 3 points of stage align" in (said := capsys.readouterr().err)
    assert f"{output / 'stages' / spec.stage_addresses[1]} is not there any more" in said


def test_progress_names_the_point(
    world: World, quarters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(quarters, output)
    (spec,) = world.plan(output, "--evaluate-every=0.25", methods=ONE)
    before = courses(output)[ONE][1]
    shutil.rmtree(spec.folder / "course")
    record = (spec.folder / "run.json").read_bytes()
    assert score_course(spec)
    said = capsys.readouterr().err
    for point in before:
        for one in point.scores:
            assert (
                f"{ONE} triplets=60,instruct=24 seed 0 at {100 * point.fraction:.3g} %: {one.task} {one.score:.2f}"
                in said
            )
    assert courses(output)[ONE][1] == before
    assert (spec.folder / "run.json").read_bytes() == record


@pytest.mark.parametrize(
    ("error", "fine"), [(UnusableVectorsError("all the same"), True), (RuntimeError("a broken library"), False)]
)
def test_a_point_that_cannot_be_scored_is_left_out(
    world: World,
    quarters: Path,
    tmp_path: Path,
    error: Exception,
    fine: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(quarters, output)
    (spec,) = world.plan(output, "--evaluate-every=0.25", methods=ONE)
    shutil.rmtree(spec.folder / "course")

    def fails(encoder: Any, benchmark: Any, stored: TaskResults, label: str) -> Any:
        if stored.folder.name == "000000030":
            raise error
        return score_encoder(encoder, benchmark, stored, label)

    monkeypatch.setattr(course_worker, "score_encoder", fails)
    assert score_course(spec) is fine
    assert [point.folder.name for point in courses(output)[ONE][1]] == ["000000020", "000000050"]
    assert f"at 50 %: {'diverged' if fine else 'failed'}: " in capsys.readouterr().err
    assert str(error) in (spec.folder / "log.txt").read_text()
    assert not list((spec.folder / "course").glob(".*"))
    # Nothing failed is served from a cache.
    monkeypatch.setattr(course_worker, "score_encoder", score_encoder)
    assert score_course(spec)
    assert len(courses(output)[ONE][1]) == 3


def test_a_snapshot_that_was_changed_costs_its_point_only(
    world: World, quarters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "copy"
    shutil.copytree(quarters, output)
    (spec,) = world.plan(output, "--evaluate-every=0.25", methods=ONE)
    shutil.rmtree(spec.folder / "course")
    with (output / "stages" / spec.stage_addresses[0] / "snapshots/000000003/weights.safetensors").open("ab") as file:
        file.write(b"x")
    assert not score_course(spec)
    assert [point.folder.name for point in courses(output)[ONE][1]] == ["000000020", "000000050"]
    assert "are not those that were written there" in capsys.readouterr().err


def test_trials_take_no_snapshots(world: World, tmp_path: Path) -> None:
    more = ("--evaluate-every=0.25", "--tune=lr=1e-4,1e-3", "--budget=30")
    options = parse(parser(), world.arguments(tmp_path, *more, methods=ONE))
    ready = world.prepared(tmp_path, *more, methods=ONE)
    tuning = plan_tuning(options, ready)
    assert len(tuning.runs) == 2
    for trial in tuning.runs:
        assert trial.evaluate_every is None
        assert trial.configuration.get("evaluate_every") is None
    assert [spec.evaluate_every for spec in ready.plan(ready.chosen)] == [0.25]


def test_what_a_course_takes_is_said_beforehand(world: World, quarters: Path, plain: Path, tmp_path: Path) -> None:
    ready = world.prepared(tmp_path / "new", "--evaluate-every=0.25", methods=f"{ONE},{TWO},untrained-mean")
    methods = [(choice, method) for choice, _, method in ready.chosen]
    runs = ready.plan(ready.chosen)
    assert "10 points on the way to be scored, 9 snapshots" in describe(runs, methods)
    # Two runs on one stage: its snapshots are taken once, and scored for each.
    twice = [*runs, *(replace(spec, run=f"other-{spec.run}") for spec in runs)]
    assert "20 points on the way to be scored, 9 snapshots" in describe(twice, methods)
    # All is scored; and where no snapshots were taken, only the end of a stage can be.
    for output, expected in ((quarters, 0), (plain, 1)):
        done = world.prepared(output, "--evaluate-every=0.25")
        said = describe(done.plan(done.chosen), [(choice, method) for choice, _, method in done.chosen])
        assert f"{expected} points on the way to be scored, 0 snapshots" in said
