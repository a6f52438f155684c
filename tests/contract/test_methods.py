"""What every registered method must keep, whoever wrote it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.training_data import load_training_data
from methods.contract import Method
from methods.encoder import make_encoder
from methods.registry import MethodEntry, discover
from runners.engine import Engine
from runners.stages import FromFiles, StageData, StageOutcome, train_stage
from runners.trainer import Trainer

ENTRIES = sorted(discover().entries.values(), key=lambda entry: entry.name)
TRAINED = [entry for entry in ENTRIES if entry.create("small").stages()]
SMALL = {"batch_size": "16", "learning_rate": "1e-3", "epochs": "1"}

every_method = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
every_trained_method = pytest.mark.parametrize("entry", TRAINED, ids=lambda entry: entry.name)


def _small(entry: MethodEntry) -> Method:
    known = entry.create("small").config()
    return entry.create("small", {key: value for key, value in SMALL.items() if key in known})


def _data(kind: str, triplets: Path, count: int) -> StageData:
    loaded = load_training_data(kind, triplets, mapping={}, seed=0, held_out=None).take(count)
    return StageData(kind, loaded.ids, loaded.rows)


def _train(entry: MethodEntry, backbone: Path, triplets: Path, folder: Path, count: int = 48) -> list[StageOutcome]:
    outcomes: list[StageOutcome] = []
    for stage in _small(entry).stages():
        start = outcomes[-1].weights if outcomes else backbone
        train_stage(
            stage,
            f"address-of-{stage.name}",
            label=entry.name,
            start=FromFiles(backbone, start, Engine()),
            data=_data(stage.data, triplets, count),
            engine=Engine(),
            seed=0,
            stages=folder,
            payer="test",
            outcomes=outcomes,
        )
    return outcomes


@every_method
def test_the_configuration_goes_through_json(entry: MethodEntry) -> None:
    for preset in ("default", *entry.cls.presets):
        method = entry.create(preset)
        assert entry.cls(**json.loads(json.dumps(method.config()))) == method


@every_method
def test_facts_are_stated(entry: MethodEntry) -> None:
    assert entry.cls.facts.family
    assert entry.cls.facts.paper
    assert entry.cls.facts.summary
    assert {"paper", "small"} <= set(entry.cls.presets)


@every_method
def test_long_texts_are_cut_to_max_length_and_keep_their_prompt(entry: MethodEntry, tiny_backbone: Path) -> None:
    method = entry.create("small", {"max_length": "48"})
    encoder = make_encoder(entry.name, method, entry.source, tiny_backbone)
    long, short = method.tokenize(encoder.tokenizer, ["a ball " * 3000, "a"], "symmetric", "evaluate")
    assert len(long) == 48
    assert long.ids[-5:] == short.ids[-5:]


@every_trained_method
def test_training_spends_its_budget_and_leaves_files_that_encode(
    entry: MethodEntry, tiny_backbone: Path, tiny_triplets: Path, tmp_path: Path
) -> None:
    outcomes = _train(entry, tiny_backbone, tiny_triplets, tmp_path)
    for outcome in outcomes:
        assert all(count <= 48 for count in outcome.costs.unique_examples.values())
        assert outcome.costs.model_flops > 0
        assert outcome.costs.real_tokens <= outcome.costs.padded_tokens
        lines = (tmp_path / outcome.address / "metrics.jsonl").read_text().splitlines()
        assert all(math.isfinite(json.loads(line)["loss"]) for line in lines)
    method = _small(entry)
    encoder = make_encoder(entry.name, method, entry.source, outcomes[-1].weights)
    untrained = make_encoder(entry.name, method, entry.source, tiny_backbone)
    texts = ["the cat sees a ball", "a pilot mends the engine"]
    assert encoder.address != untrained.address
    assert np.abs(encoder.encode(texts) - untrained.encode(texts)).max() > 1e-3


@every_trained_method
def test_one_step_moves_every_trainable_parameter(
    entry: MethodEntry, tiny_backbone: Path, tiny_triplets: Path, tmp_path: Path
) -> None:
    for stage in _small(entry).stages():
        trained = stage.build(FromFiles(tiny_backbone, tiny_backbone, Engine()))
        data = _data(stage.data, tiny_triplets, 16)
        trainer = Trainer(stage, trained, data.ids, data.rows, engine=Engine(), seed=0, folder=tmp_path)
        before = {name: value.detach().clone() for name, value in trainer.parameters.items()}
        trainer.train()
        still = [name for name, value in trainer.parameters.items() if torch.equal(before[name], value)]
        # LoRA's A has no gradient while its B is zero, that is, in the first step.
        assert [name for name in still if "lora_A" not in name] == []
