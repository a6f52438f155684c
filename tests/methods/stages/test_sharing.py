"""What methods share is trained once, and what differs never is; each stage starts from plain merged weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from methods.encoder import make_encoder
from methods.registry import discover, stage_source
from runners.addresses import training_address
from runners.engine import Engine
from runners.outcomes import StageData, StageOutcome
from runners.stages import FromFiles, train_stage
from tests.methods.backbones import Kind
from tests.methods.stages.common import Backbone, pairs, texts, triplets

LLM2VEC = ("llm2vec", "llm2vec-simcse", "llm2vec-simcse-supervised")


def addresses(name: str, **overrides: str) -> dict[str, str]:
    """Training addresses of a method's stages, as a plan chains them."""
    found: dict[str, str] = {}
    at = "backbone"
    for stage in discover().get(name).create("paper", overrides).stages():
        at = training_address(stage, start=at, data=stage.data, seed=0, precision="float32", source=stage_source(stage))
        found[stage.name] = at
    return found


# ---------------------------------------------------------------------------------------------------- addresses


def test_the_variants_of_llm2vec_share_what_they_have_in_common() -> None:
    plain, simcse, both = (addresses(name) for name in LLM2VEC)
    assert [list(one) for one in (plain, simcse, both)] == [
        ["mntp", "contrast"],
        ["mntp", "simcse"],
        ["mntp", "simcse", "contrast"],
    ]
    assert plain["mntp"] == simcse["mntp"] == both["mntp"]
    assert simcse["simcse"] == both["simcse"]
    # They start from different weights.
    assert plain["contrast"] != both["contrast"]


@pytest.mark.parametrize("name", ["llm2vec", "llm2vec-simcse-supervised"])
@pytest.mark.parametrize(
    ("key", "value"),
    [("contrast_learning_rate", "7e-4"), ("contrast_batch_size", "8"), ("temperature", "0.1"), ("hard_negatives", "2")],
)
def test_what_only_contrast_uses_retrains_nothing_else(name: str, key: str, value: str) -> None:
    before, after = addresses(name), addresses(name, **{key: value})
    assert {stage for stage in before if before[stage] != after[stage]} == {"contrast"}


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        ("mask_probability", "0.8", "mntp"),
        ("mask_rule", "all", "mntp"),
        ("mask_token", "the", "mntp"),
        ("mntp_learning_rate", "1e-3", "mntp"),
        ("mntp_epochs", "2", "mntp"),
        ("max_length", "64", "mntp"),
        ("tuning", "full", "mntp"),
        ("lora_rank", "8", "mntp"),
        ("simcse_dropout", "0.1", "simcse"),
        ("simcse_max_length", "64", "simcse"),
        ("simcse_temperature", "0.1", "simcse"),
        ("chat", "qwen", "simcse"),
        ("content", "released", "simcse"),
    ],
)
def test_what_a_stage_uses_retrains_it_and_what_follows(key: str, value: str, first: str) -> None:
    name = "llm2vec-simcse-supervised"
    before, after = addresses(name), addresses(name, **{key: value})
    order = list(before)
    changed = [stage for stage in order if before[stage] != after[stage]]
    assert changed == order[order.index(first) :]


def test_instructions_and_readouts_leave_masked_prediction_alone() -> None:
    before = addresses("llm2vec")
    for key, value in {"instruction": "x", "train_instruction": "y", "readout_kind": "last", "chat": "qwen"}.items():
        after = addresses("llm2vec", **{key: value})
        assert after["mntp"] == before["mntp"], key
        assert after["contrast"] != before["contrast"], key


def test_contrast_leaves_reconstruction_alone() -> None:
    before = addresses("anchor-embedding")
    assert list(before) == ["anchor", "contrast"]
    for key, value in {
        "contrast_learning_rate": "7e-4",
        "tuning": "full",
        "temperature": "0.1",
        "warmup": "0.1",
    }.items():
        after = addresses("anchor-embedding", **{key: value})
        assert after["anchor"] == before["anchor"], key
        assert after["contrast"] != before["contrast"], key


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_instruction", "find it;"),
        ("alpha", "0.3"),
        ("reduction", "sequence-sum"),
        ("max_target_length", "64"),
        ("anchor_learning_rate", "1e-3"),
        ("anchor_tuning", "lora"),
        ("chat", "qwen"),
    ],
)
def test_what_reconstruction_uses_retrains_it(key: str, value: str) -> None:
    before, after = addresses("anchor-embedding"), addresses("anchor-embedding", **{key: value})
    assert after["anchor"] != before["anchor"]
    assert after["contrast"] != before["contrast"]


def test_the_directions_alone_are_trainings_of_their_own() -> None:
    names = ("anchor-embedding", "anchor-q2d-only", "anchor-d2q-only")
    assert len({addresses(name)["anchor"] for name in names}) == 3
    assert addresses("anchor-q2d-only") == addresses("anchor-embedding", alpha="1.0")
    assert list(addresses("anchor-contrastive-only")) == ["contrast"]


# ---------------------------------------------------------------------------------------------------- stage by stage

DATA = {"text": texts(), "pairs": pairs(), "triplets": triplets()}
SETTINGS = {"max_length": "64", "lora_rank": "4", "lora_alpha": "8", "schedule": "constant", "warmup": "0"}
RATES = {
    "llm2vec-simcse-supervised": {f"{stage}_learning_rate": "1e-2" for stage in ("mntp", "simcse", "contrast")},
    "anchor-embedding": {"anchor_learning_rate": "1e-2", "contrast_learning_rate": "1e-2", "anchor_warmup": "0"},
}


def weights(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = AutoModel.from_pretrained(folder).state_dict()
    return found


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("llm2vec-simcse-supervised", {"tuning": "lora"}),
        ("anchor-embedding", {"tuning": "lora", "anchor_tuning": "lora"}),
        ("anchor-embedding", {"tuning": "lora", "anchor_tuning": "full"}),
    ],
)
def test_every_stage_starts_from_what_the_one_before_merged(
    name: str, overrides: dict[str, str], backbone: Backbone, tmp_path: Path
) -> None:
    folder = backbone(Kind("llama", tied=False))
    method = discover().get(name).create("small", SETTINGS | RATES[name] | overrides)
    outcomes: list[StageOutcome] = []
    at = folder
    for number, stage in enumerate(method.stages()):
        rows = DATA[stage.data]
        start = FromFiles(folder, at, Engine())
        torch.manual_seed(0)
        body: Any = stage.build(start).module.body
        before = weights(at)
        # The adapters of this stage lie on the weights that the last one left, and on none of its adapters.
        base = {
            key.removeprefix("base_model.model.").replace(".base_layer", ""): value
            for key, value in body.state_dict().items()
            if ".lora_" not in key
        }
        assert base.keys() == before.keys()
        assert all(torch.equal(base[key], value) for key, value in before.items())
        adapters = [key for key in body.state_dict() if ".lora_A." in key]
        assert len(adapters) == (0 if stage.name == "anchor" and overrides["anchor_tuning"] == "full" else 2 * 7)
        train_stage(
            stage,
            f"stage-{number}",
            label=name,
            start=start,
            data=StageData(stage.data, tuple(f"{i}" for i in range(len(rows))), tuple(rows)),
            engine=Engine(),
            seed=0,
            stages=tmp_path,
            payer="run",
            outcomes=outcomes,
        )
        at = outcomes[-1].weights
        after = weights(at)
        assert after.keys() == before.keys()
        assert not [path.name for path in at.iterdir() if "adapter" in path.name]
        changed = {key for key in after if not torch.equal(after[key], before[key])}
        assert {key for key in after if "proj" in key} <= changed
    assert [outcome.name for outcome in outcomes] == [stage.name for stage in method.stages()]
    vectors = make_encoder(name, method, "", at).encode([row["text"] for row in texts()])
    assert np.isfinite(vectors).all()
    assert not np.allclose(
        vectors, make_encoder(name, method, "", folder).encode([row["text"] for row in texts()]), atol=1e-3
    )
