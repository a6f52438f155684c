"""`genembench compare --evaluate-every` as a user runs it: killed in training and in the course, and what is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from leaderboard.course import read_course
from leaderboard.records import read_records
from runners.compare import main
from tests.conftest import CHECKOUT, Command, command_environment
from tests.runners.in_process import plan, run, score_course

# InfoNCE whose process dies, or waits, where the environment says; its source and so its address stay the same.
METHOD_FILE = """
import os, signal, time
from dataclasses import dataclass

from methods.infonce import InfoNCE
from methods.registry import register
from runners import snapshots
from runners.records import TaskResults


def then(owner, name, where, what):
    own = getattr(owner, name)

    def call(*arguments):
        result = own(*arguments)
        if where(*arguments):
            what()
        return result

    setattr(owner, name, call)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("TROUBLE") == "in the third step's snapshot":
    then(snapshots, "files_hash", lambda folder, *_: folder.name == ".writing-3", die)
if os.environ.get("TROUBLE") == "in the second point":
    then(TaskResults, "add", lambda self, *_: self.folder.name == "000000030", die)
if os.environ.get("TROUBLE") == "waits in the third point":
    then(TaskResults, "add", lambda self, *_: self.folder.name == "000000050", lambda: time.sleep(3))


@register("mine", readout_kind="mean", in_batch=False)
@dataclass(frozen=True, kw_only=True)
class Mine(InfoNCE):
    pass
"""


@pytest.fixture(scope="module")
def arguments(
    tiny_backbone: Path, tiny_triplets: Path, tiny_sts: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    file = tmp_path_factory.mktemp("methods") / "mine.py"
    file.write_text(METHOD_FILE)
    return [
        "compare",
        f"--method-file={file}",
        "--methods=mine",
        f"--backbone={tiny_backbone}",
        f"--triplets={tiny_triplets}",
        "--budget=60",
        "--preset=small",
        "--set=mine.batch_size=10",
        f"--data-dir={tiny_sts}",
        "--tasks=STS17,BIOSSES",
        "--device=cpu",
        "--checkpoint-seconds=0",
        "--evaluate-every=0.25",
    ]


def course(output: Path) -> list[dict[str, Any]]:
    """Everything that the course of the one trained run says, but what clocks and memory say."""
    (record,) = [record for record in read_records([output]) if record.method.name == "mine"]
    assert record.done
    found = []
    for point in read_course(record):
        value = json.loads((point.folder / "point.json").read_text())
        del value["costs"]["training_seconds"], value["costs"]["peak_memory_bytes"]
        predictions = {path.name: path.read_text() for path in (point.folder / "predictions").iterdir()}
        assert len(predictions) == 2
        found.append({**value, "predictions": predictions})
    return found


def snapshots(output: Path) -> dict[str, bytes]:
    return {
        path.parent.name: path.read_bytes() for path in output.glob("stages/*/snapshots/[0-9]*/weights.safetensors")
    }


def test_killed_and_gone_on_with_it_ends_the_same(genembench: Command, arguments: list[str], tmp_path: Path) -> None:
    (spec,) = plan([*arguments[1:], f"--output={tmp_path / 'whole'}"])
    run(spec)
    assert score_course(spec)
    expected = course(tmp_path / "whole")
    assert [point["fraction"] for point in expected] == pytest.approx([20 / 60, 30 / 60, 50 / 60])

    output = tmp_path / "killed"
    command = [*arguments, f"--output={output}"]
    result = genembench(*command, env={"TROUBLE": "in the third step's snapshot"})
    assert result.returncode == 1
    assert "mine 60 seed 0: failed" in result.stderr
    (partial,) = output.glob("stages/.partial-*")
    assert sorted(path.name for path in (partial / "snapshots").iterdir()) == [".writing-3", "000000002"]

    result = genembench(*command, env={"TROUBLE": "in the second point"})
    assert result.returncode == 1
    assert "mine 60 seed 0: its course is not complete" in result.stderr
    assert "1 of 1 runs done" in result.stdout
    assert course(output) == expected[:1]

    with (tmp_path / "terminal").open("w") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "genembench", *command],
            env=command_environment(TROUBLE="waits in the third point"),
            cwd=CHECKOUT,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            text=True,
        )
    deadline = time.monotonic() + 120
    while not list(output.glob("runs/*/course/000000050/tasks/*.json")):
        assert process.poll() is None, (tmp_path / "terminal").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    said = (tmp_path / "terminal").read_text()
    assert "Traceback" not in said
    # The run stands as it was, and of the second point only the task that was missing was scored.
    assert "mine 60 seed 0: done already" in said
    assert said.count("at 33.3 %") == 0
    assert said.count("at 50 %") == 1
    assert said.count("at 83.3 %") == 1
    assert course(output) == expected[:2]

    result = genembench(*command)
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if " % " in line or " %:" in line] == [
        line for line in result.stderr.splitlines() if line.startswith("mine 60 seed 0 at 83.3 %: STS17")
    ]
    assert course(output) == expected
    assert snapshots(output) == snapshots(tmp_path / "whole")
    assert len(snapshots(output)) == 3
    assert [path.name for path in output.rglob(".*")] == [".lock"]


@pytest.mark.parametrize("given", ["0", "1.5", "-0.25", "abc", "nan", "25%"])
def test_what_is_no_fraction_is_refused(genembench: Command, tmp_path: Path, given: str) -> None:
    result = genembench("compare", f"--evaluate-every={given}", f"--output={tmp_path / 'out'}")
    assert result.returncode == 2
    assert f"argument --evaluate-every: '{given}' is no fraction above 0 and at most 1, such as 0.25" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_it_takes_and_what_tuning_takes_away(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dry = [*arguments[1:], f"--output={tmp_path / 'out'}", "--dry-run"]
    assert main(dry) == 0
    assert "--evaluate-every: 3 points on the way to be scored, 3 snapshots to be kept in stages/" in (
        capsys.readouterr().out
    )
    tuned = [*dry, "--budget=20,40", "--tune=mine.lr=1e-4,1e-3"]
    assert main(tuned) == 0
    assert "warning: trials of --tune take no snapshots, and with --tune-budget 20 they train the very" in (
        capsys.readouterr().err
    )
    assert main([*tuned, "--tune-budget=30"]) == 0
    assert "take no snapshots" not in capsys.readouterr().err
