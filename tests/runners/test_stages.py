from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from torch import Tensor

from benchmarks.training_data import load_training_data
from genembench.problem import Problem
from methods.parts.cross_entropy import KERNELS, by_torch
from methods.registry import discover
from runners.backbones import resolve_backbone
from runners.engine import Engine
from runners.outcomes import StageData, StageOutcome
from runners.stages import FromFiles, train_stage
from runners.trainer import Diverged, Trainer


def _train(
    backbone: Path, triplets: Path, stages: Path, payer: str, outcomes: list[StageOutcome] | None = None
) -> list[StageOutcome]:
    data = load_training_data("triplets", triplets, mapping={}, seed=0, held_out=None).take(32)
    (stage,) = discover().get("infonce-mean").create("small", {"batch_size": "16"}).stages()
    outcomes = [] if outcomes is None else outcomes
    train_stage(
        stage,
        "address",
        label="test",
        start=FromFiles(backbone, backbone, Engine()),
        data=StageData("triplets", data.ids, data.rows),
        engine=Engine(),
        seed=0,
        stages=stages,
        payer=payer,
        outcomes=outcomes,
    )
    return outcomes


def test_a_stage_is_trained_once_and_charged_to_the_run_that_paid(
    tiny_backbone: Path, tiny_triplets: Path, tmp_path: Path
) -> None:
    (first,) = _train(tiny_backbone, tiny_triplets, tmp_path, "run-a")
    (again,) = _train(tiny_backbone, tiny_triplets, tmp_path, "run-a")
    (other,) = _train(tiny_backbone, tiny_triplets, tmp_path, "run-b")
    assert [first.reused, again.reused, other.reused] == [False, False, True]
    assert first.costs == again.costs == other.costs
    assert first.costs.optimizer_steps == 2
    assert [path.name for path in tmp_path.iterdir()] == ["address"]


@pytest.mark.parametrize("chosen", ["torch", "liger"])
def test_the_engines_cross_entropy_reaches_the_head(
    chosen: Literal["torch", "liger"], tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []

    def stand_in(logits_NV: Tensor, ids_N: Tensor, softcap: float | None) -> Tensor:
        asked.append(tuple(logits_NV.shape))
        return by_torch(logits_NV, ids_N, softcap)

    monkeypatch.setitem(KERNELS, "liger", stand_in)
    stage = discover().get("anchor-embedding").create("small", {"anchor_batch_size": "8"}).stages()[0]
    rows = ({"query": "the cat", "document": "a dog"},) * 8
    engine = Engine(cross_entropy=chosen)
    train_stage(
        stage,
        "address",
        label="test",
        start=FromFiles(tiny_backbone, tiny_backbone, engine),
        data=StageData("pairs", tuple(map(str, range(8))), rows),
        engine=engine,
        seed=0,
        stages=tmp_path,
        payer="run",
        outcomes=[],
    )
    vocabulary = json.loads((tiny_backbone / "config.json").read_text())["vocab_size"]
    assert {columns for _, columns in asked} == ({vocabulary} if chosen == "liger" else set())


def test_weights_that_were_changed_are_not_reused(tiny_backbone: Path, tiny_triplets: Path, tmp_path: Path) -> None:
    (outcome,) = _train(tiny_backbone, tiny_triplets, tmp_path, "run-a")
    with (outcome.weights / "config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(Problem, match="are not those that were trained there"):
        _train(tiny_backbone, tiny_triplets, tmp_path, "run-a")


def test_a_training_that_fails_is_charged_for_what_it_did(
    tiny_backbone: Path, tiny_triplets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Trainer._step
    charged: list[StageOutcome] = []

    def fail(self: Trainer, step: int) -> object:
        if step == 1:
            raise Diverged("loss nan")
        return steps(self, step)

    monkeypatch.setattr(Trainer, "_step", fail)
    with pytest.raises(Diverged):
        _train(tiny_backbone, tiny_triplets, tmp_path, "run", charged)
    assert [(o.costs.optimizer_steps, o.costs.examples_seen, o.reused) for o in charged] == [
        (1, {"triplets": 16}, False)
    ]
    assert charged[0].costs.model_flops > 0


def test_a_second_copy_of_the_weights_is_not_counted(tiny_backbone: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(tiny_backbone, folder)
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert (
        resolve_backbone(str(folder), Engine()).parameters == resolve_backbone(str(tiny_backbone), Engine()).parameters
    )
    assert resolve_backbone(str(folder), Engine()).address == resolve_backbone(str(tiny_backbone), Engine()).address
