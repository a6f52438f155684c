"""SimCSE: two dropout views of a text, and what the loss makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from methods.contract import Trainable
from methods.encoder import make_encoder
from methods.llm2vec import LLM2Vec
from methods.parts.forward import TOKENS_PER_PASS
from methods.stages.simcse import SimCSE
from tests.methods.backbones import Kind
from tests.methods.stages.common import (
    Backbone,
    assert_gradients,
    build,
    finished,
    gradients,
    step,
    texts,
    trainer,
    wake_adapters,
)

LLAMA = Kind("llama", tied=False)
LORA = {"tuning": "lora", "lora_rank": 4, "lora_alpha": 12, "lora_dropout": 0.0}


def make(**changes: Any) -> LLM2Vec:
    settings: dict[str, Any] = {"trained": "simcse", "tuning": "full", "simcse_dropout": 0.3}
    return LLM2Vec(**settings | changes)


def stage_of(**changes: Any) -> SimCSE:
    stage = make(**changes).stages()[1]
    assert isinstance(stage, SimCSE)
    return stage


def views(stage: SimCSE, trained: Trainable, rows: Any = None) -> tuple[Tensor, Tensor]:
    """Both views of each text ``[B, D]``."""
    outputs = trained.module(stage.collate(texts() if rows is None else rows, trained.tokenizer))
    query_BD, documents_B1D = outputs["query"], outputs["documents"]
    assert documents_B1D.shape == (len(query_BD), 1, query_BD.shape[1])
    return query_BD, documents_B1D[:, 0]


def plain_vectors(folder: Path, rows: Any) -> Tensor:
    """Mean over the text's own tokens of an all-seeing model, one text at a time, without padding."""
    model: Any = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    vectors = []
    for row in rows:
        ids = tokenizer(row["text"])["input_ids"]
        seen = torch.zeros(1, 1, len(ids), len(ids))
        states_LD = model(input_ids=torch.tensor([ids]), attention_mask=seen, use_cache=False).last_hidden_state[0]
        own = len(tokenizer(row["text"], add_special_tokens=False)["input_ids"])
        mean_D = states_LD[-own:].mean(dim=0)
        vectors.append(mean_D / mean_D.norm())
    return torch.stack(vectors)


# ---------------------------------------------------------------------------------------------------- views


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({}, False),
        ({"simcse_dropout": 0.0}, True),
        (LORA, False),
        (LORA | {"simcse_dropout": 0.0}, True),
        (LORA | {"simcse_dropout": 0.0, "lora_dropout": 0.3}, False),
    ],
    ids=["attention", "none", "lora, attention", "lora, none", "lora, its own"],
)
def test_views_differ_by_dropout_alone(changes: dict[str, Any], alike: bool, backbone: Backbone) -> None:
    stage = stage_of(**changes)
    trained = build(stage, backbone(LLAMA))
    wake_adapters(trained)
    with torch.no_grad():
        one, other = views(stage, trained)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(len(one)))
    closest = functional.cosine_similarity(one, other)
    if alike:
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    else:
        assert bool((closest < 0.9999).all())


def test_every_row_has_dropout_of_its_own(backbone: Backbone) -> None:
    """The same text twice in a batch: four views, and no two alike."""
    stage = stage_of()
    trained = build(stage, backbone(LLAMA))
    with torch.no_grad():
        found = torch.cat(views(stage, trained, [texts()[0]] * 2))
    for i in range(4):
        for j in range(i):
            assert not torch.allclose(found[i], found[j], atol=1e-3)


def test_without_dropout_it_is_the_mean_of_the_texts_tokens(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither padding nor BOS is pooled; the released code pools all of a padded row."""
    stage = stage_of(simcse_dropout=0.0)
    trained = build(stage, backbone(LLAMA))
    wanted = plain_vectors(backbone(LLAMA), texts())
    for tokens in (1, 100_000):
        monkeypatch.setitem(TOKENS_PER_PASS, "cpu", tokens)
        with torch.no_grad():
            for view in views(stage, trained):
                torch.testing.assert_close(view, wanted, atol=1e-5, rtol=0)


def test_longer_neighbours_change_nothing(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", 100_000)
    stage = stage_of(simcse_dropout=0.0)
    trained = build(stage, backbone(LLAMA))
    short = {"text": "the nurse"}
    with torch.no_grad():
        alone, _ = views(stage, trained, [short])
        beside, _ = views(stage, trained, [*texts(), short])
    torch.testing.assert_close(beside[-1:], alone, atol=1e-6, rtol=0)


# ---------------------------------------------------------------------------------------------------- loss


def test_the_loss_is_cross_entropy_of_twenty_times_the_cosine(backbone: Backbone) -> None:
    stage = stage_of()
    trained = build(stage, backbone(LLAMA))
    torch.manual_seed(4)
    outputs = trained.module(stage.collate(texts(), trained.tokenizer))
    (term,) = stage.joint_loss(outputs).values()
    one, other = outputs["query"].detach(), outputs["documents"].detach()[:, 0]
    cosine = torch.stack([functional.cosine_similarity(each, other) for each in one])
    wanted = functional.cross_entropy(20 * cosine, torch.arange(len(one)))
    assert wanted.item() > 1e-3
    assert (term.sum / term.weight).item() == pytest.approx(wanted.item(), rel=1e-4)


def test_gradients_are_those_of_the_plain_loss(backbone: Backbone) -> None:
    stage = stage_of(simcse_dropout=0.0)
    trained = build(stage, backbone(LLAMA))
    found = step(stage, trained, texts()).item()
    got = gradients(trained)
    one, other = views(stage, trained)
    loss = functional.cross_entropy(20 * one @ other.T, torch.arange(len(one)))
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-5)
    assert_gradients(got, gradients(trained))


@pytest.mark.parametrize("engine", [{"micro_batch": 2, "gradient_cache": True}, {"micro_batch": 2}], ids=str)
def test_micro_batches_leave_gradients_unchanged(engine: dict[str, Any], backbone: Backbone, tmp_path: Path) -> None:
    found = []
    for number, options in enumerate(({}, engine)):
        stage = stage_of(simcse_dropout=0.0, simcse_batch_size=5)
        trained = build(stage, backbone(LLAMA))
        terms = trainer(stage, trained, texts(), tmp_path / str(number), **options).gradients(0)
        found.append((terms["infonce"].item(), gradients(trained)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert_gradients(found[1][1], found[0][1])


# ---------------------------------------------------------------------------------------------------- what is left


@pytest.mark.parametrize("kind", [LLAMA, Kind("gpt2", tied=True, bos="known")], ids=str)
def test_dropout_ends_with_the_stage(kind: Kind, backbone: Backbone, tmp_path: Path) -> None:
    stage = stage_of()
    trained = build(stage, backbone(kind))
    assert trained.module.training
    trained.module.eval()
    with torch.no_grad():
        torch.testing.assert_close(*views(stage, trained), atol=1e-5, rtol=0)
    folder = finished(stage, trained, tmp_path / "left")
    before, after = (json.loads((one / "config.json").read_text()) for one in (backbone(kind), folder))
    drops = {key for key in before if "drop" in key or "pdrop" in key}
    assert drops
    assert {key: after[key] for key in drops} == {key: before[key] for key in drops}
    # The next stage has none, in training mode, and the encoder has none.
    body: Any = AutoModel.from_pretrained(folder).train()
    ids = torch.tensor([[5, 80, 41, 300]])
    with torch.no_grad():
        assert torch.equal(*(body(input_ids=ids, use_cache=False).last_hidden_state for _ in range(2)))
    encoder = make_encoder("llm2vec-simcse", make(), "", folder)
    assert (encoder.encode(["the nurse"]) == encoder.encode(["the nurse"])).all()


def test_texts_are_cut_at_the_stages_length_and_have_no_instruction(backbone: Backbone) -> None:
    stage = stage_of(simcse_max_length=9)
    tokenizer: Any = AutoTokenizer.from_pretrained(backbone(LLAMA))
    batch = stage.collate(texts(), tokenizer)
    assert batch.group == [1] * 5
    assert batch.queries == batch.documents
    for row, one in zip(batch.queries, texts(), strict=True):
        assert row.ids == tokenizer(one["text"])["input_ids"][:9]
        assert row.content == [False] + [True] * (len(row) - 1)
    assert max(map(len, batch.queries)) == 9
    # Where the method reads less, that counts.
    short = stage_of(simcse_max_length=128, max_length=7).collate(texts(), tokenizer)
    assert max(map(len, short.queries)) == 7
