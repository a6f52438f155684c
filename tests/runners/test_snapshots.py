"""Snapshots on the way of a training: nothing moves for them, and they are what the training was at that step."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.training_data import load_training_data
from genembench.problem import Problem
from methods.contract import Recipe, Stage, Trainable
from methods.registry import discover
from runners import snapshots
from runners.engine import Engine
from runners.meter import Costs
from runners.seeds import derive
from runners.snapshots import snapshot_steps
from runners.stages import FromFiles, finish_snapshot
from runners.trainer import Trainer
from tests.conftest import sentence, write_lines
from tests.methods.backbones import Kind

LORA = {"tuning": "lora", "lora_rank": "4", "lora_alpha": "8", "lora_dropout": "0.3"}
FULL = {"tuning": "full"}
# 40 examples twice in batches of 16: 16, 32, 40, 56, 72 and 80 are seen; quarters of 80 are 20, 40 and 60.
EXAMPLES, STEPS = 40, 6
QUARTERS = {2: 32, 3: 40, 5: 72}


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        # 50 examples in batches of 16, twice: 16, 32, 48, 50, 66, 82, 98 and, at the end, 100 are seen.
        (0.25, {2: 32, 4: 50, 6: 82}),
        (0.5, {4: 50}),
        (0.1, {1: 16, 2: 32, 3: 48, 4: 50, 5: 66, 6: 82, 7: 98}),
        # 30, 60, 90.
        (0.3, {2: 32, 5: 66, 7: 98}),
        (0.99, {}),
        (1.0, {}),
    ],
)
def test_a_snapshot_lies_at_the_first_step_at_or_after_its_fraction(every: float, expected: dict[int, int]) -> None:
    assert snapshot_steps(50, Recipe(learning_rate=1, batch_size=16, epochs=2), every) == expected


def test_fractions_are_decimals() -> None:
    """A hundred times 0.07 is more than 7 in binary."""
    assert list(snapshot_steps(100, Recipe(learning_rate=1, batch_size=1), 0.07)) == list(range(7, 100, 7))
    assert list(snapshot_steps(10, Recipe(learning_rate=1, batch_size=1), 0.1)) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@dataclass(frozen=True)
class World:
    """A stage of a method, its examples, and how it is trained."""

    backbone: Path
    files: dict[str, Path]
    folder: Path

    def stage(self, name: str, values: dict[str, str]) -> Stage:
        stage: Any = discover().get(name).create("small", values).stages()[0]
        stage = replace(stage, optimiser=replace(stage.optimiser, batch_size=16, epochs=2, learning_rate=1e-3))
        assert isinstance(stage, Stage)
        return stage

    @property
    def start(self) -> FromFiles:
        return FromFiles(self.backbone, self.backbone, Engine())

    def trainer(
        self,
        stage: Stage,
        name: str,
        every: float | None,
        on_step: Callable[[int, int, float], None] | None = None,
        engine: Engine | None = None,
    ) -> tuple[Trainer, Trainable]:
        data = load_training_data(stage.data, self.files[stage.data], mapping={}, seed=0, held_out=None).take(EXAMPLES)
        assert len(data) == EXAMPLES
        torch.manual_seed(derive(0, stage.name, "build"))
        trained = stage.build(self.start)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        trainer = Trainer(
            stage,
            trained,
            data.ids,
            data.rows,
            engine=engine or Engine(),
            seed=0,
            folder=folder,
            on_step=on_step,
            evaluate_every=every,
        )
        return trainer, trained


@pytest.fixture(scope="session")
def files(tiny_triplets: Path, tiny_instruct: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, source = tmp_path_factory.mktemp("kinds"), random.Random(5)
    texts = list(dict.fromkeys(sentence(source) for _ in range(100)))
    pairs = [{"query": one, "document": other} for one, other in zip(texts[::2], texts[1::2], strict=False)]
    return {
        "triplets": tiny_triplets,
        "instruct": tiny_instruct,
        "pairs": write_lines(folder / "pairs.jsonl", pairs),
        "text": write_lines(folder / "text.jsonl", [{"text": text} for text in texts]),
    }


@pytest.fixture
def world(tiny_backbone: Path, files: dict[str, Path], tmp_path: Path) -> World:
    return World(tiny_backbone, files, tmp_path)


def lines(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def modes(trained: Trainable) -> list[tuple[str, bool]]:
    parts = [(name, part.training) for name, part in trained.module.named_modules()]
    return parts + [(name, parameter.requires_grad) for name, parameter in trained.module.named_parameters()]


@pytest.mark.parametrize(
    ("name", "values", "untied"),
    [
        pytest.param("infonce-mean", FULL, False, id="additive-full"),
        pytest.param("infonce-mean", LORA, False, id="additive-lora"),
        pytest.param("infonce-inbatch-mean", FULL, False, id="joint-full"),
        pytest.param("infonce-inbatch-mean", LORA, False, id="joint-lora"),
        pytest.param("autoregembed-compress-only", FULL, False, id="new-tokens-full"),
        pytest.param("autoregembed-compress-only", LORA, False, id="new-tokens-lora"),
        pytest.param("anchor-embedding", FULL, False, id="head-tied"),
        pytest.param("anchor-embedding", FULL, True, id="head-trained"),
        pytest.param("anchor-embedding", LORA, True, id="head-frozen-lora"),
        pytest.param("llm2vec", LORA, False, id="mntp-lora"),
    ],
)
def test_training_does_not_notice_and_a_snapshot_is_what_was_trained_until_then(
    world: World, tmp_path: Path, name: str, values: dict[str, str], untied: bool
) -> None:
    if untied:
        world = replace(world, backbone=Kind(tied=False).save(tmp_path / "untied", world.backbone))
    stage = world.stage(name, values)
    plain, plain_trained = world.trainer(stage, "plain", None)
    plain_costs = plain.train()
    other, other_trained = world.trainer(stage, "snapshots", 0.25)
    other_costs = other.train()

    assert plain.steps == STEPS
    assert lines(tmp_path / "plain") == lines(tmp_path / "snapshots")
    assert modes(plain_trained) == modes(other_trained)
    for key, parameter in plain.parameters.items():
        assert torch.equal(parameter, other.parameters[key]), key
    for field in ("examples_seen", "unique_examples", "real_tokens", "optimizer_steps", "model_flops"):
        assert getattr(plain_costs, field) == getattr(other_costs, field)
    assert not (tmp_path / "plain" / "snapshots").exists()
    found = snapshots.taken(tmp_path / "snapshots")
    assert list(found) == list(QUARTERS)

    # Another training, ended at that step by force and merged as any finished stage is.
    def stop(done: int, steps: int, loss: float) -> None:
        if done == 3:
            raise Killed

    stopped, stopped_trained = world.trainer(stage, "stopped", None, stop)
    with pytest.raises(Killed):
        stopped.train()
    stage.finish(stopped_trained, tmp_path / "expected")
    finish_snapshot(stage, found[3], tmp_path / "found", start=world.start, seed=0)
    stage.finish(plain_trained, tmp_path / "end")
    expected = contents(tmp_path / "expected")
    assert contents(tmp_path / "found") == expected
    assert contents(tmp_path / "end")["model.safetensors"] != expected["model.safetensors"]


def test_a_snapshot_knows_what_was_paid_until_then(world: World, tmp_path: Path) -> None:
    trainer, _ = world.trainer(world.stage("infonce-mean", FULL), "costs", 0.25)
    end = trainer.train()
    found = {step: snapshots.costs_of(path) for step, path in snapshots.taken(tmp_path / "costs").items()}
    assert {step: costs.examples_seen for step, costs in found.items()} == {
        step: {"triplets": seen} for step, seen in QUARTERS.items()
    }
    # Of 40 examples 32 have been used before the first epoch is over.
    assert [costs.unique_examples["triplets"] for costs in found.values()] == [32, 40, 40]
    assert [costs.optimizer_steps for costs in found.values()] == [2, 3, 5]
    along = [*found.values(), end]
    for key in ("training_seconds", "real_tokens", "padded_tokens", "model_flops"):
        values = [getattr(costs, key) for costs in along]
        assert values == sorted(set(values)), key
    seconds = [json.loads(line)["seconds"] for line in (tmp_path / "costs" / "metrics.jsonl").read_text().splitlines()]
    assert [costs.training_seconds for costs in found.values()] == [seconds[step - 1] for step in found]


def test_taking_one_is_not_charged(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that takes two seconds and 300 MB."""
    import time

    write, held = snapshots.write, []

    def slow(folder: Path, step: int, module: torch.nn.Module, costs: Costs) -> None:
        write(folder, step, module, costs)
        held.append(torch.ones(75_000_000).sum())
        time.sleep(2)

    stage = world.stage("infonce-mean", FULL)
    trainer, _ = world.trainer(stage, "plain", None)
    expected = trainer.train()
    monkeypatch.setattr(snapshots, "write", slow)
    trainer, _ = world.trainer(stage, "slow", 0.5)
    began = time.perf_counter()
    costs = trainer.train()
    assert len(held) == 1
    assert time.perf_counter() - began >= 2
    assert costs.training_seconds < time.perf_counter() - began - 2
    assert costs.peak_memory_bytes < expected.peak_memory_bytes + 200_000_000


@pytest.mark.parametrize("tuning", [FULL, LORA], ids=["full", "lora"])
def test_a_killed_training_ends_with_the_same_snapshots(
    world: World, tmp_path: Path, tuning: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = world.stage("infonce-inbatch-mean", tuning)
    whole, _ = world.trainer(stage, "whole", 0.25)
    whole.train()

    def checkpoint_then_die(done: int, steps: int, loss: float) -> None:
        if done == 2:
            trainer.save(2)
        if done == 4:
            raise Killed

    trainer, _ = world.trainer(stage, "killed", 0.25, checkpoint_then_die)
    with pytest.raises(Killed):
        trainer.train()
    folder = tmp_path / "killed" / "snapshots"
    before = {path.name: (path / "weights.safetensors").stat().st_ino for path in folder.iterdir()}
    assert sorted(before) == ["000000002", "000000003"]
    # A kill in the middle of writing the next one.
    (folder / ".writing-5").mkdir()
    (folder / ".writing-5" / "weights.safetensors").write_bytes(b"half")

    resumed, _ = world.trainer(stage, "killed", 0.25)
    resumed.train()
    assert sorted(path.name for path in folder.iterdir()) == ["000000002", "000000003", "000000005"]
    # What stands before the checkpoint is kept; what stands behind it was a dead process's, its costs too.
    after = {path.name: (path / "weights.safetensors").stat().st_ino for path in folder.iterdir()}
    assert after["000000002"] == before["000000002"]
    for step, path in snapshots.taken(tmp_path / "killed").items():
        same = snapshots.taken(tmp_path / "whole")[step]
        assert (path / "weights.safetensors").read_bytes() == (same / "weights.safetensors").read_bytes()
        assert snapshots.costs_of(path).examples_seen == snapshots.costs_of(same).examples_seen
        assert snapshots.costs_of(path).model_flops == snapshots.costs_of(same).model_flops
    seconds = [snapshots.costs_of(path).training_seconds for path in snapshots.taken(tmp_path / "killed").values()]
    assert seconds == sorted(seconds)


def test_no_checkpoint_is_without_the_snapshots_before_it(world: World, tmp_path: Path) -> None:
    """A full disk while a snapshot is written, and a checkpoint after every step."""
    from unittest.mock import patch

    stage = world.stage("infonce-mean", FULL)
    trainer, _ = world.trainer(stage, "full", 0.25, engine=Engine(checkpoint_seconds=0))
    with (
        patch("runners.snapshots.save_file", side_effect=OSError(28, "No space left on device")),
        pytest.raises(OSError, match="No space left"),
    ):
        trainer.train()
    assert [path.name for path in (tmp_path / "full").glob("checkpoint-*")] == ["checkpoint-000000001"]
    resumed, _ = world.trainer(stage, "full", 0.25)
    resumed.train()
    assert list(snapshots.taken(tmp_path / "full")) == list(QUARTERS)


def test_a_snapshot_that_was_changed_or_is_of_another_training_is_refused(world: World, tmp_path: Path) -> None:
    stage = world.stage("infonce-mean", LORA)
    trainer, _ = world.trainer(stage, "lora", 0.5)
    trainer.train()
    (path,) = snapshots.taken(tmp_path / "lora").values()
    with pytest.raises(Problem, match="holds other parameters than the stage trains"):
        finish_snapshot(world.stage("infonce-mean", FULL), path, tmp_path / "no", start=world.start, seed=0)
    with (path / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(Problem, match="are not those that were written there"):
        snapshots.costs_of(path)
    (path / "snapshot.json").write_text("{")
    with pytest.raises(Problem, match="cannot be read"):
        snapshots.costs_of(path)
