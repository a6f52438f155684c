"""Which weights of trials are deleted: those on which nothing but a trial that lost stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from runners.engine import Engine
from runners.spec import RunSpec
from runners.tune_results import Outcome
from runners.tune_weights import drop_losing_weights


def run(output: Path, name: str, addresses: Sequence[str], status: str | None = "done") -> RunSpec:
    """A run with its record, if it has a status, and its trained stages."""
    spec = RunSpec(
        run=name,
        label=name,
        method=None,
        finished=None,
        backbone=None,
        budget_label="16",
        asked={},
        seed=0,
        data={},
        data_facts={},
        stage_addresses=tuple(addresses),
        preparations=(),
        benchmark=None,
        engine=Engine(),
        output=output,
        configuration={},
    )
    for number, address in enumerate(addresses):
        folder = output / "stages" / address
        (folder / "weights").mkdir(parents=True, exist_ok=True)
        (folder / "stage.json").write_text(json.dumps({"stage": f"stage{number}"}))
        (folder / "metrics.jsonl").write_text(f"metrics of {address}")
    if status is not None:
        spec.folder.mkdir(parents=True)
        record = {"status": status, "costs": {"stages": [{"address": address} for address in addresses]}}
        (spec.folder / "run.json").write_text(json.dumps(record))
    return spec


def outcome(runs: Sequence[RunSpec], best: int | None) -> Outcome:
    return Outcome("m", (), tuple(runs), (), (), "", best)


def stages(output: Path) -> set[str]:
    return {folder.name for folder in (output / "stages").iterdir()}


def test_what_nothing_else_stands_on_goes_and_its_metrics_stay(tmp_path: Path) -> None:
    won, lost = run(tmp_path, "won", ["shared", "a"]), run(tmp_path, "lost", ["shared", "b"])
    again = run(tmp_path, "final", ["shared", "c"], status=None)
    assert drop_losing_weights([outcome([lost, won], 1)], [again], tmp_path) == 1
    assert stages(tmp_path) == {"shared", "a", "c"}
    assert (lost.folder / "metrics-stage1.jsonl").read_text() == "metrics of b"
    assert (lost.folder / "run.json").is_file()
    assert drop_losing_weights([outcome([lost, won], 1)], [again], tmp_path) == 0


def test_what_a_run_of_another_command_or_of_the_plan_stands_on_stays(tmp_path: Path) -> None:
    won, lost = run(tmp_path, "won", ["a"]), run(tmp_path, "lost", ["b", "c", "d"])
    run(tmp_path, "of another command", ["b"])
    assert drop_losing_weights([outcome([won, lost], 0)], [run(tmp_path, "planned", ["c"], status=None)], tmp_path) == 1
    assert stages(tmp_path) == {"a", "b", "c"}


def test_only_what_is_run_again_stays_of_a_method_without_a_winner(tmp_path: Path) -> None:
    trials = [run(tmp_path, "one", ["a"], status="failed"), run(tmp_path, "two", ["b"], status="diverged")]
    assert drop_losing_weights([outcome(trials, None)], [], tmp_path) == 1
    assert stages(tmp_path) == {"a"}


def test_what_was_left_half_deleted_goes(tmp_path: Path) -> None:
    (tmp_path / "stages" / ".losing-x" / "weights").mkdir(parents=True)
    assert drop_losing_weights([], [], tmp_path) == 0
    assert stages(tmp_path) == set()


def test_a_record_that_cannot_be_read_keeps_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    won, lost = run(tmp_path, "won", ["a"]), run(tmp_path, "lost", ["b"])
    broken = tmp_path / "runs" / "broken" / "run.json"
    broken.parent.mkdir()
    broken.write_text('{"status": "do')
    assert drop_losing_weights([outcome([won, lost], 0)], [], tmp_path) == 0
    assert stages(tmp_path) == {"a", "b"}
    assert str(broken) in capsys.readouterr().err
