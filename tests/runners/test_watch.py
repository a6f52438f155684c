from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.training_data import TrainingData, load_training_data
from methods.encoder import Encoder
from methods.infonce import InfoNCE
from methods.parts.ledger import Ledger, charging
from methods.parts.observe import Observations, observe, observing
from methods.registry import discover
from runners.engine import Engine
from runners.meter import Costs
from runners.stages import FromFiles
from runners.trainer import Trainer
from runners.watch import measure, watch_points, watched

KEYS = {"held_out/alignment", "held_out/uniformity", "held_out/triplet_accuracy"}
HELD_OUT = 8


def test_alignment_uniformity_and_accuracy_by_hand() -> None:
    """Queries at 0° and 90°, both positives at 0°, both negatives at 90°; no vector has unit length."""
    query_BD = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
    positive_BD = torch.tensor([[1.0, 0.0], [7.0, 0.0]])
    negative_BD = torch.tensor([[0.0, 3.0], [0.0, 3.0]])
    found = measure(query_BD, positive_BD, negative_BD)
    # Squared distances are 0 along an axis and 2 between the axes.
    assert found["held_out/alignment"] == pytest.approx((0 + 2) / 2)
    # Six pairs of the four texts: three of them coincide, three lie 2 apart.
    assert found["held_out/uniformity"] == pytest.approx(math.log((3 + 3 * math.exp(-2 * 2)) / 6))
    assert found["held_out/triplet_accuracy"] == pytest.approx(1 / 2)


def test_vectors_that_all_coincide_are_no_success() -> None:
    same = torch.ones(5, 4)
    found = measure(same, same, same)
    assert found == {"held_out/alignment": 0.0, "held_out/uniformity": 0.0, "held_out/triplet_accuracy": 0.0}


def test_negatives_are_no_part_of_uniformity() -> None:
    query_BD, positive_BD = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    one = measure(query_BD, positive_BD, query_BD)["held_out/uniformity"]
    other = measure(query_BD, positive_BD, positive_BD)["held_out/uniformity"]
    assert one == other


@pytest.mark.parametrize(
    ("steps", "points"),
    [(1, {1}), (2, {1, 2}), (3, {1, 2, 3}), (4, {1, 2, 3, 4}), (8, {1, 2, 4, 6, 8}), (100, {1, 25, 50, 75, 100})],
)
def test_one_looks_after_the_first_step_and_each_quarter(steps: int, points: set[int]) -> None:
    assert watch_points(steps) == points


@pytest.fixture(scope="module")
def data(tiny_triplets: Path) -> TrainingData:
    return load_training_data("triplets", tiny_triplets, mapping={}, seed=0, held_out=None)


def _trainer(
    backbone: Path, data: TrainingData, folder: Path, *, watching: bool, name: str = "infonce-mean", **hyper: str
) -> Trainer:
    values = {"batch_size": "8", "epochs": "2", "learning_rate": "1e-3"} if name.startswith("infonce") else {}
    # Dropout draws random numbers: whoever draws some in between would be seen.
    values |= {"tuning": "lora", "lora_rank": "4", "lora_alpha": "8", "lora_dropout": "0.3"}
    (stage,) = discover().get(name).create("small", values | hyper).stages()
    torch.manual_seed(0)
    trained = stage.build(FromFiles(backbone, backbone, Engine()))
    folder.mkdir()
    return Trainer(
        stage,
        trained,
        data.ids[:32],
        data.rows[:32],
        engine=Engine(),
        seed=0,
        folder=folder,
        held_out=data.rows[-HELD_OUT:] if watching else (),
    )


def _metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _charged(costs: Costs) -> dict[str, Any]:
    """What does not depend on the clock or on what else the machine does."""
    return {k: v for k, v in costs.to_json().items() if k not in ("training_seconds", "peak_memory_bytes")}


def test_watching_changes_nothing_and_costs_nothing(tiny_backbone: Path, data: TrainingData, tmp_path: Path) -> None:
    blind, seeing = (
        _trainer(tiny_backbone, data, tmp_path / name, watching=name == "seeing") for name in ("blind", "seeing")
    )
    assert _charged(blind.train()) == _charged(seeing.train())
    lines = _metrics(tmp_path / "blind"), _metrics(tmp_path / "seeing")
    looked = [line["step"] for line in lines[1] if line.keys() & KEYS]
    assert looked == [1, 2, 4, 6, 8]
    assert all(line.keys() >= KEYS for line in lines[1] if line["step"] in looked)
    assert not any(line.keys() & KEYS for line in lines[0])
    for line in (line for each in lines for line in each):
        for key in {*KEYS, "seconds"}:
            line.pop(key, None)
    assert lines[0] == lines[1]
    assert len({line["loss"] for line in lines[0]}) == 8
    for name, value in blind.parameters.items():
        assert torch.equal(value, seeing.parameters[name]), name
    # Dropout is on again after the last look.
    assert seeing.raw_module.training
    assert all(module.training for module in seeing.raw_module.modules())


def test_what_is_watched_is_what_evaluation_would_see(tiny_backbone: Path, data: TrainingData, tmp_path: Path) -> None:
    trainer = _trainer(tiny_backbone, data, tmp_path / "run", watching=True, lora_dropout="0.9")
    trainer.train()
    last = {key: value for key, value in _metrics(tmp_path / "run")[-1].items() if key in KEYS}
    stage, body = trainer.stage, trainer.raw_module.body
    encoder = Encoder("any", "", stage.method, body.eval(), trainer.tokenizer)  # type: ignore[arg-type,union-attr]
    rows = data.rows[-HELD_OUT:]
    query = encoder.encode([row["query"] for row in rows], "query")
    positive, negative = (
        encoder.encode(texts, "document")
        for texts in ([row["positive"] for row in rows], [row["negative"][0] for row in rows])
    )
    near, far = ((query - positive) ** 2).sum(1), ((query - negative) ** 2).sum(1)
    texts = np.concatenate([query, positive])
    pairs = [((texts[i] - texts[j]) ** 2).sum() for i in range(len(texts)) for j in range(i)]
    expected = {
        "held_out/alignment": near.mean(),
        "held_out/uniformity": np.log(np.exp(-2 * np.array(pairs)).mean()),
        "held_out/triplet_accuracy": (near < far).mean(),
    }
    assert last == {key: pytest.approx(float(value), abs=1e-5) for key, value in expected.items()}


def test_nobody_is_charged_or_told(
    tiny_backbone: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(tiny_backbone, data, tmp_path / "run", watching=True)
    body: Any = trainer.raw_module.body
    ledger, seen, pool = Ledger(), Observations(), InfoNCE.pool

    def telling(self: InfoNCE, readout_BkD: Tensor) -> Tensor:
        observe("pooled", readout_BkD)
        return pool(self, readout_BkD)

    monkeypatch.setattr(InfoNCE, "pool", telling)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with charging(ledger), observing(seen):
        watched(trainer.stage.method, body, trainer.tokenizer, data.rows[:4], "float32")
    assert ledger == Ledger()
    assert seen.means() == {}
    assert body.training
    assert torch.equal(torch.rand(3), expected)


def test_a_module_without_a_body_is_not_watched(tiny_backbone: Path, data: TrainingData, tmp_path: Path) -> None:
    trainer = _trainer(tiny_backbone, data, tmp_path / "run", watching=True)
    assert trainer._watched(1).keys() == KEYS
    assert trainer._watched(3) == {}
    trainer.raw_module = torch.nn.Linear(2, 2)
    assert trainer._watched(1) == {}
