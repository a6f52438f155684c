"""Contrast over triplets: which documents are whose negatives, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from methods.contract import Example
from methods.llm2vec import LLM2Vec
from methods.stages.contrast import Contrast
from tests.methods.backbones import Kind
from tests.methods.stages.common import Backbone, assert_gradients, build, gradients, step, trainer, triplets

LLAMA = Kind("llama", tied=False)
ROWS = {"equal": triplets((3, 3, 3, 3, 3)), "uneven": triplets((3, 1, 2, 3, 0)), "many": triplets((5, 4, 3, 1, 2))}
NEGATIVES = 3


def stage_of(**changes: Any) -> Contrast:
    settings: dict[str, Any] = {"tuning": "full", "hard_negatives": NEGATIVES}
    stage = LLM2Vec(**settings | changes).stages()[1]
    assert isinstance(stage, Contrast)
    return stage


def vector(model: Any, tokenizer: Any, text: str, instruction: str = "") -> Tensor:
    """Mean over the text's tokens of an all-seeing model; the instruction is seen and not read."""
    ids = tokenizer(instruction + text)["input_ids"]
    spans = tokenizer(instruction + text, return_offsets_mapping=True)["offset_mapping"]
    read = torch.tensor([end > len(instruction) and end > begin for begin, end in spans])
    seen = torch.zeros(1, 1, len(ids), len(ids))
    states_LD = model(input_ids=torch.tensor([ids]), attention_mask=seen, use_cache=False).last_hidden_state[0]
    mean_D: Tensor = states_LD[read].mean(dim=0)
    vector_D: Tensor = mean_D / mean_D.norm()
    return vector_D


def plain_loss(folder: Path, rows: list[Example], scale: float, order: list[int] | None = None) -> tuple[Tensor, Any]:
    """CE(scale cos(q, [all positives; all negatives])) with query i's positive in column i.

    ``order`` moves the columns, and the labels with them.
    """
    model: Any = AutoModel.from_pretrained(folder, attn_implementation="eager").train()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    instruction = "Given a premise, retrieve a hypothesis that is entailed by the premise; "
    queries = torch.stack([vector(model, tokenizer, row["query"], instruction) for row in rows])
    positives = [row["positive"] for row in rows]
    negatives = [text for row in rows for text in row["negative"][:NEGATIVES]]
    documents = torch.stack([vector(model, tokenizer, text) for text in [*positives, *negatives]])
    labels = torch.arange(len(rows))
    if order is not None:
        documents = documents[order]
        labels = torch.tensor([order.index(i) for i in range(len(rows))])
    return functional.cross_entropy(scale * queries @ documents.T, labels), model


@pytest.mark.parametrize(("settings", "scale"), [({}, 50.0), ({"temperature": 1.0}, 1.0)], ids=["50", "1"])
@pytest.mark.parametrize("rows", ROWS.values(), ids=list(ROWS))
def test_all_hard_negatives_are_everybodys(
    rows: list[Example], settings: dict[str, Any], scale: float, backbone: Backbone
) -> None:
    """Rows may have fewer negatives than are taken, and then nothing stands in their place; or more.

    What stands there by mistake shows where similarities are scaled little.
    """
    stage = stage_of(**settings)
    trained = build(stage, backbone(LLAMA))
    wanted, model = plain_loss(backbone(LLAMA), rows, scale)
    wanted.backward()
    assert step(stage, trained, rows).item() == pytest.approx(wanted.item(), rel=1e-4)
    assert_gradients(
        gradients(trained), {f"body.{name}": parameter.grad for name, parameter in model.named_parameters()}
    )
    columns = len(rows) + sum(min(NEGATIVES, len(row["negative"])) for row in rows)
    order = torch.randperm(columns, generator=torch.Generator().manual_seed(1)).tolist()
    with torch.no_grad():
        assert plain_loss(backbone(LLAMA), rows, scale, order)[0].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_negatives_beyond_the_setting_are_not_used(backbone: Backbone) -> None:
    stage = stage_of()
    trained = build(stage, backbone(LLAMA))
    longer: list[Example] = [{**row, "negative": [*row["negative"], "one too many"]} for row in ROWS["equal"]]
    assert step(stage, trained, longer).item() == step(stage, trained, ROWS["equal"]).item()
    fewer = stage_of(hard_negatives=1)
    assert step(fewer, build(fewer, backbone(LLAMA)), ROWS["equal"]).item() < step(stage, trained, ROWS["equal"]).item()


@pytest.mark.parametrize("engine", [{"micro_batch": 1}, {"micro_batch": 2, "gradient_cache": True}], ids=str)
def test_rows_without_some_negatives_in_micro_batches(
    engine: dict[str, Any], backbone: Backbone, tmp_path: Path
) -> None:
    found = []
    for number, options in enumerate(({}, engine)):
        stage = stage_of(contrast_batch_size=5)
        trained = build(stage, backbone(LLAMA))
        terms = trainer(stage, trained, ROWS["uneven"], tmp_path / str(number), **options).gradients(0)
        found.append((terms["infonce"].item(), gradients(trained)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert_gradients(found[1][1], found[0][1])
