"""`genembench compare` from end to end, as a user runs it, on a backbone and data that take a second."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT, Command, command_environment

TRAINED = ("infonce-mean", "infonce-inbatch-mean")
METHODS = ("untrained-mean", *TRAINED)

# InfoNCE that goes wrong, or is slow, in its forward pass. What it meets is set from outside, not by its source.
METHOD_FILE = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path

from methods.infonce import InfoNCE
from methods.contract import Start, Trainable
from methods.parts.losses import LossTerm
from methods.registry import register
from methods.stages.contrast import BiEncoder, Contrast


class Body(BiEncoder):
    def forward(self, batch):
        name = type(self.stage.method).__name__
        if "CALLS" in os.environ:
            with Path(os.environ["CALLS"]).open("a") as file:
                file.write(name + "\\n")
        if name == "Raises":
            raise RuntimeError("the forward pass is broken on purpose")
        if name == "Dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "Leaves":
            os._exit(7)
        if name == "Slow":
            time.sleep(float(os.environ.get("PAUSE", "0")))
        outputs = super().forward(batch)
        if name == "Diverges":
            return {n: LossTerm(t.sum * float("inf"), t.weight) for n, t in outputs.items()}
        return outputs


@dataclass(frozen=True)
class Training(Contrast):
    def build(self, start: Start) -> Trainable:
        trained = super().build(start)
        return Trainable(Body(self, trained.module.body), trained.tokenizer)


class Base(InfoNCE):
    def stages(self):
        return tuple(Training(**vars(stage)) for stage in super().stages())
"""
for _name in ("Raises", "Dies", "Leaves", "Slow", "Diverges"):
    METHOD_FILE += f'''

@register("{_name.lower()}", readout_kind="mean", in_batch=False)
@dataclass(frozen=True, kw_only=True)
class {_name}(Base):
    pass
'''


@dataclass(frozen=True)
class Tiny:
    """The arguments that every comparison here shares."""

    backbone: Path
    triplets: Path
    sts: Path

    def training(self, budget: str) -> list[str]:
        return [
            f"--backbone={self.backbone}",
            f"--triplets={self.triplets}",
            f"--budget={budget}",
            "--preset=small",
            f"--data-dir={self.sts}",
            "--device=cpu",
        ]

    def compare(self, output: Path | str, *more: str, methods: tuple[str, ...] = METHODS) -> list[str]:
        return [
            "compare",
            f"--methods={','.join(methods)}",
            *self.training("32,64"),
            "--tasks=STS17,BIOSSES",
            *(f"--set={name}.batch_size=16" for name in methods if name in TRAINED),
            f"--output={output}",
            *more,
        ]


@pytest.fixture(scope="module")
def tiny(tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path) -> Tiny:
    return Tiny(tiny_backbone, tiny_triplets, tiny_sts)


@pytest.fixture(scope="module")
def finished(genembench: Command, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one finished comparison; tests only read it, or copy it."""
    folder = tmp_path_factory.mktemp("compare") / "finished"
    result = genembench(*tiny.compare(folder))
    assert result.returncode == 0, result.stderr
    assert "5 of 5 runs done" in result.stdout
    return folder


@pytest.fixture(scope="module")
def method_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("methods") / "mine.py"
    file.write_text(METHOD_FILE)
    return file


def records(output: Path) -> dict[str, dict[str, Any]]:
    """Return every run's record by the run's id without its address."""
    found = [json.loads(file.read_text()) for file in output.glob("runs/*/run.json")]
    return {record["run"].rpartition("-")[0]: record for record in found}


def tree(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def leaderboard(output: Path) -> bytes:
    return (output / "leaderboard.csv").read_bytes()


def weights(output: Path) -> dict[str, str]:
    return {
        str(file.relative_to(output)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in output.glob("stages/*/weights/model.safetensors")
    }


def test_what_is_written(finished: Path) -> None:
    for name in ("leaderboard.csv", "costs.csv", "leaderboard.md", "pareto.png", "config.json"):
        assert (finished / name).stat().st_size > 0
    found = records(finished)
    assert {record["status"] for record in found.values()} == {"done"}
    for record in found.values():
        folder = finished / "runs" / record["run"]
        assert {score["task"] for score in record["scores"]} == {"STS17", "BIOSSES"}
        for task in ("STS17", "BIOSSES"):
            with (folder / "predictions" / f"{task}.csv").open() as file:
                assert len(list(csv.DictReader(file))) == 30
    # 32 or 64 examples in batches of 16, once: 2 or 4 steps.
    steps = [len(file.read_text().splitlines()) for file in finished.glob("stages/*/metrics.jsonl")]
    assert sorted(steps) == [2, 2, 4, 4]
    assert not [path for path in finished.rglob(".*") if path.name != ".lock"]


def test_the_table_holds_what_the_predictions_say(finished: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    with (finished / "leaderboard.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["task"] in ("STS17", "BIOSSES")]
    assert len(rows) == 10
    for row in rows:
        with (finished / "runs" / row["run"] / "predictions" / f"{row['task']}.csv").open() as file:
            pairs = [(float(pair["gold"]), float(pair["score"])) for pair in csv.DictReader(file)]
        expected = 100 * stats.spearmanr(*zip(*pairs, strict=True)).statistic
        assert float(row["score"]) == pytest.approx(expected, abs=1e-4)


def test_training_free_methods_stand_once_and_trained_ones_at_every_budget(finished: Path) -> None:
    expected = {"untrained-mean"} | {f"{name}-{budget}-s0" for name in TRAINED for budget in (32, 64)}
    assert set(records(finished)) == expected
    assert records(finished)["untrained-mean"]["costs"]["attributed"]["training_seconds"] == 0


def test_methods_get_equal_data_and_budgets_are_nested(finished: Path, tiny: Tiny) -> None:
    from benchmarks.training_data import load_training_data

    found = records(finished)
    for budget in (32, 64):
        facts = [found[f"{name}-{budget}-s0"]["data"]["triplets"] for name in TRAINED]
        assert facts[0] == facts[1]
        assert facts[0]["unique"] == budget
        # The record's address is that of the first rows of the seed's order, so the small budget is a prefix.
        whole = load_training_data("triplets", tiny.triplets, mapping={}, seed=0, held_out=None)
        assert facts[0]["address"] == hashlib_of(list(whole.ids[:budget]))
    assert {record["seed"] for record in found.values()} == {0}


def hashlib_of(ids: list[str]) -> str:
    from benchmarks.order import digest

    return digest(ids)


def test_again_does_nothing(genembench: Command, tiny: Tiny, finished: Path) -> None:
    before, table = tree(finished / "runs") | tree(finished / "stages"), leaderboard(finished)
    result = genembench(*tiny.compare(finished))
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("done already") == 5
    assert tree(finished / "runs") | tree(finished / "stages") == before
    assert leaderboard(finished) == table


def test_the_script_from_another_folder_gives_the_same_bytes(
    genembench: Command, tiny: Tiny, finished: Path, tmp_path: Path
) -> None:
    script = CHECKOUT / "runners" / "compare.py"
    result = genembench(*tiny.compare("out")[1:], program=[str(script)], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert leaderboard(tmp_path / "out") == leaderboard(finished)
    assert weights(tmp_path / "out") == weights(finished)


def test_its_own_configuration_gives_the_same_bytes(genembench: Command, finished: Path, tmp_path: Path) -> None:
    result = genembench("compare", "--config", finished / "config.json", "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert leaderboard(tmp_path / "out") == leaderboard(finished)


def test_another_task_trains_nothing(genembench: Command, tiny: Tiny, finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "moved"
    shutil.copytree(finished, copy)
    before = tree(copy / "stages")
    result = genembench(*tiny.compare(copy, "--tasks=STS16,STS17,BIOSSES"))
    assert result.returncode == 0, result.stderr
    assert tree(copy / "stages") == before
    old = {(row["run"].rpartition("-")[0], row["task"]): row["score"] for row in rows_of(finished)}
    new = {(row["run"].rpartition("-")[0], row["task"]): row["score"] for row in rows_of(copy)}
    assert {task for _, task in new} >= {"STS16", "STS17", "BIOSSES"}
    assert all(new[key] == score for key, score in old.items() if key[1] in ("STS17", "BIOSSES"))
    paid = [json.loads(file.read_text())["costs"] for file in copy.glob("runs/*/run.json")]
    again = [costs for costs in paid if costs["stages"] and costs["stages"][0]["reused"]]
    assert len(again) == 4
    for costs in again:
        assert costs["spent"]["optimizer_steps"] == 0
        assert costs["attributed"]["optimizer_steps"] > 0


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_failures_are_recorded_and_tried_again(
    genembench: Command, tiny: Tiny, method_file: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    names = ("raises", "diverges", "dies", "leaves", "infonce-mean")
    command = tiny.compare(tmp_path / "out", f"--method-file={method_file}", "--budget=32", methods=names)
    for attempt in (1, 2):
        result = genembench(*command, env={"CALLS": str(calls)})
        assert result.returncode == 1, result.stderr
        assert "Traceback" not in result.stdout + result.stderr
        found = {name.removesuffix("-32-s0"): record for name, record in records(tmp_path / "out").items()}
        assert {name: record["status"] for name, record in found.items()} == {
            "raises": "failed",
            "diverges": "diverged",
            "dies": "failed",
            "leaves": "failed",
            "infonce-mean": "done",
        }
        assert "the forward pass is broken on purpose" in found["raises"]["reason"]
        assert "step 1: loss inf" in found["diverges"]["reason"]
        assert "killed (signal 9)" in found["dies"]["reason"]
        assert "ended with code 7" in found["leaves"]["reason"]
        assert "1 of 5 runs done" in result.stdout
        for name in names[:-1]:
            assert found[name]["reason"] in result.stdout
            assert found[name]["scores"] == []
        log = (tmp_path / "out" / "runs" / found["raises"]["run"] / "log.txt").read_text()
        assert "Traceback" in log
        assert "the forward pass is broken on purpose" in log
        tried = calls.read_text().split()
        assert [tried.count(name) for name in ("Raises", "Diverges", "Dies", "Leaves")] == [attempt] * 4
    assert {row["method"] for row in rows_of(tmp_path / "out")} == {"infonce-mean"}


LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
runpy.run_module("genembench", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        # Records and tables fit, weights do not.
        pytest.param(100_000, "infonce-mean 32 seed 0: failed", id="weights"),
        pytest.param(100, "genembench: cannot write: File too large", id="everything"),
    ],
)
def test_a_disk_that_takes_no_more(genembench: Command, tiny: Tiny, tmp_path: Path, limit: int, says: str) -> None:
    command = tiny.compare(tmp_path / "out", "--budget=32", "--checkpoint-seconds=0", methods=METHODS[:2])
    result = genembench(*command, program=("-c", LIMITED.format(limit=limit)))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert says in result.stderr
    about_the_run = [line for line in result.stderr.splitlines() if not line.startswith(("resampling ", "drawing "))]
    assert len(about_the_run) <= 8
    if limit > 100:
        assert "1 of 2 runs done" in result.stdout
        assert {row["method"] for row in rows_of(tmp_path / "out")} == {"untrained-mean"}
    else:
        assert not (tmp_path / "out" / "leaderboard.csv").exists()
    result = genembench(*command)
    assert result.returncode == 0, result.stderr
    assert {row["method"] for row in rows_of(tmp_path / "out")} == set(METHODS[:2])


# -- stopping in the middle of a training --------------------------------------------------------------------------

SLOW_STEPS = 30


def slow(tiny: Tiny, method_file: Path, output: Path) -> list[str]:
    """Compare one method that trains for 30 steps, with a checkpoint after each; PAUSE slows it down."""
    more = (f"--method-file={method_file}", "--budget=120", "--set=slow.batch_size=4", "--checkpoint-seconds=0")
    return tiny.compare(output, *more, "--tasks=STS17", methods=("slow",))


@pytest.fixture(scope="module")
def uninterrupted(genembench: Command, tiny: Tiny, method_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("slow") / "out"
    result = genembench(*slow(tiny, method_file, output))
    assert result.returncode == 0, result.stderr
    return output


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "to_all", "code", "status"),
    [
        pytest.param(signal.SIGKILL, True, -9, None, id="kill-all"),
        pytest.param(signal.SIGKILL, False, -9, None, id="kill-command"),
        pytest.param(signal.SIGINT, True, 130, "interrupted", id="ctrl-c"),
        pytest.param(signal.SIGTERM, False, 130, "interrupted", id="terminate-command"),
    ],
)
def test_a_stopped_training_goes_on(
    genembench: Command,
    tiny: Tiny,
    method_file: Path,
    uninterrupted: Path,
    tmp_path: Path,
    number: signal.Signals,
    to_all: bool,
    code: int,
    status: str | None,
) -> None:
    output, calls = tmp_path / "out", tmp_path / "calls"
    command = slow(tiny, method_file, output)
    # Long enough a pause that the training goes on for longer than the test needs it to.
    environment = command_environment(CALLS=str(calls), PAUSE="1")
    with (tmp_path / "terminal").open("w") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "genembench", *command],
            env=environment,
            cwd=CHECKOUT,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            text=True,
        )
    wait_for(lambda: len(list(output.glob("stages/.partial-*/checkpoint-*"))) > 0, process)
    if number == signal.SIGINT:
        second = genembench(*command)
        assert second.returncode == 2
        assert f"another genembench is writing to {output}" in second.stderr
        assert "Traceback" not in second.stderr
    if to_all:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(timeout=30) == code, (tmp_path / "terminal").read_text()
    assert "Traceback" not in (tmp_path / "terminal").read_text()
    assert [record["status"] for record in records(output).values()] == ([status] if status else [])
    assert not (output / "leaderboard.csv").exists() or not rows_of(output)
    # No run outlives its command: the next one would have the same folder.
    time.sleep(0.2)
    count = len(calls.read_text().split())
    time.sleep(1.2)
    assert len(calls.read_text().split()) == count < SLOW_STEPS
    # What a kill in the middle of writing a checkpoint leaves.
    (partial,) = output.glob("stages/.partial-*")
    (partial / ".writing-999").mkdir()

    result = genembench(*command, env={"CALLS": str(calls)})
    assert result.returncode == 0, result.stderr
    assert leaderboard(output) == leaderboard(uninterrupted)
    assert weights(output) == weights(uninterrupted)
    assert [path.name for path in output.rglob(".*")] == [".lock"]
    (metrics,) = output.glob("stages/*/metrics.jsonl")
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == list(range(1, SLOW_STEPS + 1))
    # Every step was done once, but for the few that the killed process had not put into a checkpoint.
    assert SLOW_STEPS <= len(calls.read_text().split()) <= SLOW_STEPS + 3
    costs = {out: next(iter(records(out).values()))["costs"]["attributed"] for out in (output, uninterrupted)}
    for key in ("examples_seen", "optimizer_steps", "real_tokens", "model_flops"):
        assert costs[output][key] == costs[uninterrupted][key]


# -- the plan and the options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["toml", "yaml"])
def test_dry_run_of_a_configuration_file(genembench: Command, tiny: Tiny, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"my.{ending}"
    options = {"backbone": tiny.backbone, "triplets": tiny.triplets, "data-dir": tiny.sts, "preset": "small"}
    if ending == "toml":
        lines = [f'{key} = "{value}"' for key, value in options.items()]
        lines += ['methods = ["untrained-mean", "infonce-mean"]', "budget = 64", 'tasks = ["STS17"]', "seeds = [0, 1]"]
        lines += ["[set.infonce-mean]", "batch_size = 16"]
    else:
        lines = [f"{key}: {value}" for key, value in options.items()]
        lines += ["methods: [untrained-mean, infonce-mean]", "budget: 64", "tasks: STS17", "seeds: 0,1"]
        lines += ["set: {infonce-mean: {batch_size: 16}}"]
    file.write_text("\n".join(lines) + "\n")
    result = genembench("compare", f"--config={file}", "--budget=32", "--output=out", "--dry-run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    plan = result.stdout
    # The command line's budget, the file's seeds; a training-free method once.
    assert "infonce-mean 32 seed 0" in plan
    assert "infonce-mean 32 seed 1" in plan
    assert " 64 " not in plan
    assert plan.count("untrained-mean") == 1
    assert "3 runs, 3 to do" in plan
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_train_then_evaluate_gives_the_scores_of_compare(
    genembench: Command, tiny: Tiny, finished: Path, tmp_path: Path
) -> None:
    options = [*tiny.training("64"), "--tasks=STS17,BIOSSES", "--set=infonce-mean.batch_size=16"]
    trained = genembench("train", "--method=infonce-mean", *options, f"--output={tmp_path / 'trained'}")
    assert trained.returncode == 0, trained.stderr
    encoder = trained.stdout.strip().removeprefix("encoder: ")
    result = genembench(
        "evaluate",
        f"--encoder={encoder}",
        f"--data-dir={tiny.sts}",
        "--tasks=STS17,BIOSSES",
        f"--output={tmp_path / 'scored'}",
    )
    assert result.returncode == 0, result.stderr
    with (tmp_path / "scored" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["task", "score", "pairs"]
    expected = {row["task"]: row["score"] for row in rows_of(finished) if row["run"].startswith("infonce-mean-64-s0-")}
    assert {row["task"]: row["score"] for row in rows} == expected
    assert {row["task"]: row["pairs"] for row in rows if row["task"] in ("STS17", "BIOSSES")} == {
        "STS17": "30",
        "BIOSSES": "30",
    }
