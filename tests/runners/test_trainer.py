from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.training_data import TrainingData, load_training_data
from methods.contract import Stage, Trainable
from methods.parts.forward import TOKENS_PER_PASS
from methods.parts.ledger import Ledger, charging
from methods.parts.observe import Observations, observing
from methods.registry import discover
from runners.engine import Engine
from runners.stages import FromFiles
from runners.trainer import Diverged, Trainer

LORA = {"tuning": "lora", "lora_rank": "4", "lora_alpha": "8", "lora_dropout": "0.3"}


@pytest.fixture(scope="module")
def data(tiny_triplets: Path) -> TrainingData:
    return load_training_data("triplets", tiny_triplets, mapping={}, seed=0, held_out=None).take(50)


def _trainer(
    backbone: Path,
    data: TrainingData,
    folder: Path,
    *,
    name: str = "infonce-inbatch-mean",
    engine: Engine | None = None,
    on_step: Any = None,
    hyper: dict[str, str] | None = None,
    **overrides: Any,
) -> Trainer:
    values = {"batch_size": "16", "epochs": "2", "hard_negatives": "2", "learning_rate": "1e-3", "tuning": "full"}
    method = discover().get(name).create("small", values | (hyper or {}) | overrides)
    (stage,) = method.stages()
    torch.manual_seed(0)
    trained = stage.build(FromFiles(backbone, backbone, Engine()))
    folder.mkdir(exist_ok=True)
    return Trainer(
        stage,
        trained,
        data.ids,
        data.rows,
        engine=engine or Engine(),
        seed=0,
        folder=folder,
        on_step=on_step,
    )


def _gradients(trainer: Trainer, step: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    terms = trainer.gradients(step)
    return terms, {name: p.grad.clone() for name, p in trainer.parameters.items() if p.grad is not None}


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor], tolerance: float = 2e-5) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        scale = value.abs().max().item() + 1e-8
        torch.testing.assert_close(other[name], value, atol=tolerance * scale, rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", ["infonce-mean", "infonce-last", "infonce-inbatch-mean", "infonce-inbatch-last"])
@pytest.mark.parametrize("micro_batch", [1, 5, 16])
@pytest.mark.parametrize("gradient_cache", [False, True])
def test_micro_batches_leave_loss_and_gradients_unchanged(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path, name: str, micro_batch: int, gradient_cache: bool
) -> None:
    whole_terms, whole = _gradients(_trainer(tiny_backbone, data, tmp_path, name=name))
    engine = Engine(micro_batch=micro_batch, gradient_cache=gradient_cache)
    terms, parts = _gradients(_trainer(tiny_backbone, data, tmp_path, name=name, engine=engine))
    _same(whole_terms, terms)
    _same(whole, parts)


def test_a_last_smaller_batch_is_divided_by_its_own_size(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path
) -> None:
    trainer = _trainer(tiny_backbone, data, tmp_path, name="infonce-mean")
    assert [len(trainer.global_batch(step)) for step in range(4)] == [16, 16, 16, 2]
    assert trainer.steps == 8
    terms, _ = _gradients(trainer, step=3)
    alone = trainer.stage.collate([data.rows[i] for i in trainer.global_batch(3)], trainer.tokenizer)
    with torch.no_grad():
        term = trainer.raw_module(alone)["infonce"]
    assert terms["infonce"].item() == pytest.approx(term.sum.item() / 2, rel=1e-6)


@pytest.mark.parametrize("tokens", [64, 100_000])
def test_length_grouping_leaves_loss_and_gradients_unchanged(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = _gradients(_trainer(tiny_backbone, data, tmp_path))
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", tokens)
    _, grouped = _gradients(_trainer(tiny_backbone, data, tmp_path))
    _same(expected, grouped)


def test_the_gradient_cache_replays_dropout(tiny_backbone: Path, data: TrainingData, tmp_path: Path) -> None:
    plain = _trainer(tiny_backbone, data, tmp_path, engine=Engine(micro_batch=4), hyper=LORA)
    cached = _trainer(tiny_backbone, data, tmp_path, engine=Engine(micro_batch=4, gradient_cache=True), hyper=LORA)
    for trainer in (plain, cached):
        # A fresh adapter's B is zero and would hide every draw of dropout.
        with torch.no_grad():
            for name, parameter in trainer.parameters.items():
                if "lora_B" in name:
                    parameter.fill_(0.05)
    plain_terms, expected = _gradients(plain)
    cached_terms, got = _gradients(cached)
    assert torch.equal(plain_terms["infonce"], cached_terms["infonce"])
    _same(expected, got)
    # Dropout was there at all: two passes over the same rows differ.
    free = plain.raw_module(plain.stage.collate(data.rows[:4], plain.tokenizer))
    again = plain.raw_module(plain.stage.collate(data.rows[:4], plain.tokenizer))
    assert not torch.equal(free["query"], again["query"])


def test_recomputed_activations_leave_gradients_unchanged(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path
) -> None:
    _, expected = _gradients(_trainer(tiny_backbone, data, tmp_path))
    _, recomputed = _gradients(_trainer(tiny_backbone, data, tmp_path, engine=Engine(gradient_checkpointing=True)))
    _same(expected, recomputed)


@pytest.mark.parametrize("tuning", [{}, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", ["infonce-mean", "infonce-inbatch-mean"])
def test_resume_equals_no_interruption_bit_for_bit(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path, name: str, tuning: dict[str, str]
) -> None:
    whole = _trainer(tiny_backbone, data, tmp_path / "whole", name=name, hyper=tuning)
    costs = whole.train()

    class Killed(Exception):
        pass

    def kill(done: int, steps: int, loss: float) -> None:
        if done == 5:
            raise Killed

    every_step = Engine(checkpoint_seconds=0)
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        _trainer(tiny_backbone, data, folder, name=name, engine=every_step, on_step=kill, hyper=tuning).train()
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-000000005"]
    # Lines after the checkpoint, and a half-written one, are what a killed process may leave.
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 0}\n{"step": 7, "lo')
    resumed = _trainer(tiny_backbone, data, folder, name=name, hyper=tuning)
    resumed_costs = resumed.train()
    for key, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[key]), key
    losses = [_losses(tmp_path / "whole"), _losses(folder)]
    assert len(losses[0]) == 8
    assert losses[0] == losses[1]
    for field in ("examples_seen", "unique_examples", "real_tokens", "optimizer_steps", "model_flops"):
        assert getattr(costs, field) == getattr(resumed_costs, field)
    assert costs.examples_seen == {"triplets": 100}
    assert costs.unique_examples == {"triplets": 50}
    assert costs.optimizer_steps == 8


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_training_learns_its_own_data(tiny_backbone: Path, data: TrainingData, tmp_path: Path) -> None:
    _trainer(tiny_backbone, data, tmp_path, epochs="8").train()
    losses = _losses(tmp_path)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_every_example_is_seen_once_an_epoch_in_another_order(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path
) -> None:
    trainer = _trainer(tiny_backbone, data, tmp_path)
    epochs = [[i for s in range(4) for i in trainer.global_batch(4 * e + s)] for e in range(2)]
    assert epochs[0] == list(range(50))
    assert sorted(epochs[1]) == epochs[0]
    assert epochs[1] != epochs[0]


def test_a_loss_that_is_not_finite_ends_the_training(tiny_backbone: Path, data: TrainingData, tmp_path: Path) -> None:
    trainer = _trainer(tiny_backbone, data, tmp_path)
    with torch.no_grad():
        next(iter(trainer.parameters.values())).fill_(float("nan"))
    with pytest.raises(Diverged, match=r"stage contrast, step 1: loss nan"):
        trainer.train()


def test_a_weight_that_forward_does_not_keep_is_an_error(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(tiny_backbone, data, tmp_path, name="infonce-mean")
    monkeypatch.setattr(type(trainer.stage), "weigh", lambda self, batch: {"infonce": 3.0})
    with pytest.raises(ValueError, match=r"weigh\(\) promised"):
        trainer.gradients(0)


def test_only_what_trains_is_in_the_optimizer_and_lora_is_merged_at_the_end(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path
) -> None:
    from methods.parts.backbone import load_model

    trainer = _trainer(tiny_backbone, data, tmp_path / "lora", hyper=LORA | {"lora_dropout": "0"})
    assert all("lora_" in name for name in trainer.parameters)
    trainer.train()
    rows = trainer.stage.collate(data.rows[:4], trainer.tokenizer)
    with torch.no_grad():
        before = trainer.raw_module.eval()(rows)["query"]
    trained = Trainable(trainer.raw_module, trainer.tokenizer)
    trainer.stage.finish(trained, tmp_path / "weights")
    merged = load_model(tmp_path / "weights", device=torch.device("cpu"))
    assert not any("lora" in name for name, _ in merged.named_parameters())
    plain = _trainer(tmp_path / "weights", data, tmp_path / "plain")
    with torch.no_grad():
        after = plain.raw_module.eval()(rows)["query"]
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_diagnostics_are_means_over_the_batch_whatever_the_micro_batch(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path, micro_batch: int
) -> None:
    """The scores of AutoRegEmbed's alignment; in the first step the encoder is its own reference."""
    values = {"align_batch_size": "8", "hard_negatives": "2", "align_learning_rate": "1e-3"}
    (stage,) = discover().get("autoregembed-align-only").create("small", values).stages()
    seen = {}
    for size in (None, micro_batch):
        torch.manual_seed(0)
        trained = stage.build(FromFiles(tiny_backbone, tiny_backbone, Engine()))
        with torch.no_grad():
            reference_BG = stage.prepare(trained, data.rows[:24])["reference_logp"]
        rows = [{**row, "reference_logp": reference_BG[i]} for i, row in enumerate(data.rows[:24])]
        folder = tmp_path / str(size)
        folder.mkdir()
        Trainer(stage, trained, data.ids[:24], rows, engine=Engine(micro_batch=size), seed=0, folder=folder).train()
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        seen[size] = [
            {k.removeprefix("diagnostic/"): v for k, v in line.items() if "diagnostic/" in k} for line in lines
        ]
    assert len(seen[None]) == 3
    assert seen[None][0].keys() == {
        "S1",
        "S2",
        "logp/query_to_positive",
        "logp/positive_to_positive",
        "logp/query_to_negative",
    }
    for whole, parts in zip(seen[None], seen[micro_batch], strict=True):
        assert parts == {name: pytest.approx(value, rel=1e-4) for name, value in whole.items()}
        assert -1 < whole["S1"] <= -0.5
    first = seen[None][0]
    assert first["S2"] == pytest.approx(-0.5, abs=1e-5)
    assert abs(seen[None][2]["S2"] + 0.5) > 1e-4
    # The first batch is the first rows. Negatives are counted one by one: some triplets have two.
    present = [len(row["negative"]) for row in data.rows[:8]]
    assert set(present) == {1, 2}
    negatives = [reference_BG[i, 1 + j].item() for i, count in enumerate(present) for j in range(count)]
    assert first["logp/query_to_positive"] == pytest.approx(reference_BG[:8, 0].mean().item(), rel=1e-5)
    assert first["logp/query_to_negative"] == pytest.approx(sum(negatives) / len(negatives), rel=1e-5)


def test_a_diagnostic_of_negatives_leaves_out_those_that_are_not_there(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path
) -> None:
    """A reference moved by known numbers: h is what they differ by, as the encoder itself has not moved yet."""
    (stage,) = discover().get("autoregembed-align-only").create("small", {"hard_negatives": "2"}).stages()
    torch.manual_seed(0)
    trained = stage.build(FromFiles(tiny_backbone, tiny_backbone, Engine()))
    moved_BG = torch.tensor([[1.0, 21.0, -9.0], [-5.0, 10.0, 40.0], [0.0, -30.0, 2.0], [3.0, 3.0, 13.0]])
    with torch.no_grad():
        reference_BG = stage.prepare(trained, data.rows[:4])["reference_logp"] + moved_BG
    rows = [{**row, "reference_logp": reference_BG[i]} for i, row in enumerate(data.rows[:4])]
    present = [len(row["negative"]) for row in rows]
    assert set(present) == {1, 2}
    Trainer(stage, trained, data.ids[:4], rows, engine=Engine(), seed=0, folder=tmp_path).train()
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    scores = [
        -1 / (1 + math.exp(-0.1 * (moved[1 + j] - moved[0])))
        for moved, count in zip(moved_BG.tolist(), present, strict=True)
        for j in range(count)
    ]
    assert line["diagnostic/S2"] == pytest.approx(sum(scores) / len(scores), abs=1e-5)


def test_tensorboard_events_are_written(tiny_backbone: Path, data: TrainingData, tmp_path: Path) -> None:
    _trainer(tiny_backbone, data, tmp_path, engine=Engine(tensorboard=True), epochs="1").train()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_stage_is_a_contract_class() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Stage()  # type: ignore[abstract]


@pytest.mark.parametrize("name", ["infonce-mean", "infonce-inbatch-mean"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_out_of_memory_halves_the_micro_batch_and_changes_nothing(
    tiny_backbone: Path,
    data: TrainingData,
    tmp_path: Path,
    name: str,
    error: RuntimeError,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected_terms, expected = _gradients(_trainer(tiny_backbone, data, tmp_path, name=name))
    trainer = _trainer(tiny_backbone, data, tmp_path, name=name)
    forward, sizes = trainer.raw_module.forward, []

    def bounded(batch: Any) -> Any:
        sizes.append(len(batch.queries))
        found = forward(batch)
        if len(batch.queries) > 5:
            raise error
        return found

    trainer.raw_module.forward = bounded
    ledger, seen = Ledger(), Observations()
    with charging(ledger), observing(seen):
        terms, found = _gradients(trainer)
    _same(expected_terms, terms)
    _same(expected, found)
    assert sizes[:3] == [16, 8, 4]
    assert trainer._gradients.micro_batch == 4
    said = [record.getMessage() for record in caplog.records if "memory ran out" in record.getMessage()]
    assert [re.findall(r"micro-batches of (\d+) .*going on with (\d+)", line) for line in said] == [
        [("16", "8")],
        [("8", "4")],
    ]
    # What failed is nobody's cost.
    whole = Ledger()
    with charging(whole):
        _gradients(_trainer(tiny_backbone, data, tmp_path, name=name))
    assert ledger.real_tokens == whole.real_tokens
    assert ledger.model_flops == pytest.approx(whole.model_flops)


def test_out_of_memory_with_one_example_is_the_end(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(tiny_backbone, data, tmp_path, engine=Engine(micro_batch=2))
    sizes: list[int] = []

    def full(batch: Any) -> Any:
        sizes.append(len(batch.queries))
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer.raw_module.forward = full
    with pytest.raises(torch.OutOfMemoryError):
        trainer.gradients(0)
    assert sizes == [2, 1]
