"""Masked next-token prediction: the loss of transformers on an all-seeing model, and what it trains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from methods.contract import Trainable
from methods.llm2vec import LLM2Vec
from methods.parts.forward import TOKENS_PER_PASS
from methods.stages.mntp import MaskedBatch, MaskedNextToken
from tests.methods.backbones import CONFIGURATIONS, Kind
from tests.methods.stages.common import (
    Backbone,
    as_in_the_module,
    assert_gradients,
    build,
    finished,
    gradients,
    of_adapters,
    other_padding,
    step,
    texts,
    trainer,
    wake_adapters,
)

WINDOW = 8
LLAMA, CAPPED = Kind("llama", tied=False), Kind("gemma2", tied=False, bos="known")
KINDS = [
    LLAMA,
    CAPPED,
    Kind("llama", tied=True, side="left"),
    Kind("mistral", tied=False, bos="none"),
    Kind("qwen2", tied=True, bos="none", spare=20),
    Kind("qwen3", tied=False, bos="known"),
    Kind("gemma", tied=True),
    Kind("gemma2", tied=True),
    Kind("gemma3", tied=False),
    Kind("gpt2", tied=True, bos="known"),
]


def stage_of(**changes: Any) -> MaskedNextToken:
    settings: dict[str, Any] = {
        "tuning": "full",
        "lora_rank": 4,
        "lora_alpha": 12,
        "lora_dropout": 0.0,
        "mask_probability": 0.3,
        "mask_rule": "all",
    }
    stage = LLM2Vec(**settings | changes).stages()[0]
    assert isinstance(stage, MaskedNextToken)
    return stage


def collate(stage: MaskedNextToken, tokenizer: Any, rows: Any = None, seed: int = 0) -> MaskedBatch:
    torch.manual_seed(seed)
    return stage.collate(texts() if rows is None else rows, tokenizer)


def originals(tokenizer: Any) -> list[list[int]]:
    """What the tokenizer itself makes of the texts, with BOS where it puts one."""
    return [tokenizer(row["text"])["input_ids"] for row in texts()]


def everything_seen(model: Any, length: int) -> Any:
    """Masks by the definition: added to the scores, 0 where a token sees another; a window reaches to both sides."""
    back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    whole = torch.zeros(1, 1, length, length)
    window = whole.masked_fill(back.abs() > WINDOW, torch.finfo(torch.float32).min)
    if model.config.model_type in ("gemma2", "gemma3_text"):
        return {"full_attention": whole, "sliding_attention": window}
    return window if model.config.model_type == "mistral" else whole


def plain_loss(model: Any, corrupted: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> Tensor:
    """Transformers' own shifted cross-entropy, one text after the other, over the labels that are not -100."""
    total, count = torch.zeros(()), 0
    for ids, wanted in zip(corrupted, labels, strict=True):
        given = {"input_ids": torch.tensor([ids]), "attention_mask": everything_seen(model, len(ids))}
        scored = sum(label != -100 for label in wanted)
        total = total + model(**given, labels=torch.tensor([wanted]), use_cache=False).loss * scored
        count += scored
    return total / count


def wanted_loss(folder: Path, model: Any, batch: MaskedBatch) -> Tensor:
    """The plain loss on the rows as they were corrupted; scored are the tokens that were masked."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    mask = tokenizer.get_vocab()["_"]
    labels = []
    for own, row in zip(originals(tokenizer), batch.rows, strict=True):
        assert all(found in (true, mask) for true, found in zip(own, row.ids, strict=True))
        labels.append([true if found == mask else -100 for true, found in zip(own, row.ids, strict=True)])
    return plain_loss(model, [row.ids for row in batch.rows], labels)


def plain_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").train()


# ---------------------------------------------------------------------------------------------------- equality


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_loss_and_gradients_are_those_of_transformers(kind: Kind, backbone: Backbone) -> None:
    """Every token sees every other, the logit before a masked token is held against it, no other logit counts."""
    stage = stage_of()
    trained = build(stage, backbone(kind))
    batch = collate(stage, trained.tokenizer)
    model = plain_model(backbone(kind))
    wanted = wanted_loss(backbone(kind), model, batch)
    wanted.backward()
    torch.manual_seed(0)
    assert step(stage, trained, texts()).item() == pytest.approx(wanted.item(), rel=1e-4)
    expected = as_in_the_module(model)
    if not kind.tied:
        # The head is frozen, and no part of what is trained.
        del expected["lm_head.weight"]
    assert_gradients(gradients(trained), expected)


@pytest.mark.parametrize("kind", [LLAMA, CAPPED], ids=str)
def test_exchanged_and_kept_tokens_are_scored_as_well(kind: Kind, backbone: Backbone) -> None:
    """80-10-10: what is scored is what was drawn, not what looks masked."""
    stage = stage_of(mask_rule="80-10-10", mask_probability=0.5)
    trained = build(stage, backbone(kind))
    batch = collate(stage, trained.tokenizer)
    labels = []
    mask = trained.tokenizer.get_vocab()["_"]
    kept = 0
    for own, row in zip(originals(trained.tokenizer), batch.rows, strict=True):
        drawn = [False, *row.content[:-1]]
        labels.append([true if is_drawn else -100 for true, is_drawn in zip(own, drawn, strict=True)])
        changed = [true != found for true, found in zip(own, row.ids, strict=True)]
        assert all(is_drawn for is_drawn, is_changed in zip(drawn, changed, strict=True) if is_changed)
        assert all(is_drawn for is_drawn, found in zip(drawn, row.ids, strict=True) if found == mask)
        kept += sum(drawn) - sum(changed)
    assert kept > 0
    wanted = plain_loss(plain_model(backbone(kind)), [row.ids for row in batch.rows], labels)
    torch.manual_seed(0)
    assert step(stage, trained, texts()).item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize("kind", [LLAMA, Kind("gemma2", tied=True), Kind("gpt2", tied=True, bos="known")], ids=str)
def test_adapters_get_the_gradients_of_the_weights_they_change(kind: Kind, backbone: Backbone, tmp_path: Path) -> None:
    stage = stage_of(tuning="lora")
    trained = build(stage, backbone(kind))
    wake_adapters(trained)
    # What is saved is the body; the head is the backbone's.
    model = plain_model(backbone(kind))
    merged = AutoModel.from_pretrained(finished(stage, trained, tmp_path / "merged"))
    model.base_model.load_state_dict(merged.state_dict())
    wanted = wanted_loss(backbone(kind), model, collate(stage, trained.tokenizer))
    wanted.backward()
    torch.manual_seed(0)
    assert step(stage, trained, texts()).item() == pytest.approx(wanted.item(), rel=1e-4)
    assert_gradients(gradients(trained), of_adapters(trained, model, scale=12 / 4))


def test_every_architecture_is_tried() -> None:
    assert {kind.architecture for kind in KINDS} == set(CONFIGURATIONS)


# ---------------------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("tokens", [1, 60, 100_000])
def test_how_texts_are_grouped_changes_nothing(
    tokens: int, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of()
    trained = build(stage, backbone(LLAMA))
    torch.manual_seed(0)
    wanted, expected = step(stage, trained, texts()).item(), gradients(trained)
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", tokens)
    torch.manual_seed(0)
    assert step(stage, trained, texts()).item() == pytest.approx(wanted, rel=1e-5)
    assert_gradients(gradients(trained), expected)


def test_what_padding_holds_changes_nothing(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", 100_000)
    stage = stage_of()
    trained = build(stage, backbone(Kind("qwen2", tied=False, bos="none")))
    torch.manual_seed(0)
    wanted, expected = step(stage, trained, texts()).item(), gradients(trained)
    with other_padding(trained) as changed:
        torch.manual_seed(0)
        got = step(stage, trained, texts()).item()
    assert len(changed) == 1
    assert changed[0] > 50
    assert got == pytest.approx(wanted, rel=1e-6)
    assert_gradients(gradients(trained), expected, 1e-5)


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("engine", [{"micro_batch": 1}, {"micro_batch": 2}, {"gradient_checkpointing": True}], ids=str)
def test_micro_batches_and_recomputation_leave_loss_and_gradients_unchanged(
    engine: dict[str, Any], tuning: str, backbone: Backbone, tmp_path: Path
) -> None:
    found = []
    for number, options in enumerate(({}, engine)):
        stage = stage_of(mntp_batch_size=5, mask_rule="80-10-10", tuning=tuning)
        trained = build(stage, backbone(LLAMA))
        wake_adapters(trained)
        terms = trainer(stage, trained, texts(), tmp_path / str(number), **options).gradients(0)
        found.append((terms["mntp"].item(), gradients(trained)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert_gradients(found[1][1], found[0][1])


@pytest.mark.parametrize("tied", [True, False])
def test_a_micro_batch_in_which_nothing_is_masked_adds_nothing(tied: bool, backbone: Backbone, tmp_path: Path) -> None:
    """Without BOS, a text of one token has nothing before it that could predict it."""
    kind = Kind("qwen2", tied=tied, bos="none")
    found = []
    for number, rows in enumerate((texts(), [*texts(), {"text": "a"}])):
        stage = stage_of(mntp_batch_size=6)
        trained = build(stage, backbone(kind))
        assert stage.weigh(collate(stage, trained.tokenizer, [{"text": "a"}])) == {"mntp": 0.0}
        terms = trainer(stage, trained, rows, tmp_path / str(number), micro_batch=1).gradients(0)
        found.append((terms["mntp"].item(), gradients(trained)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert_gradients(found[1][1], found[0][1])


@pytest.mark.parametrize("micro_batch", [None, 1])
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_step_in_which_nothing_is_masked_has_loss_0_and_moves_nothing(
    tuning: str, micro_batch: int | None, backbone: Backbone, tmp_path: Path
) -> None:
    stage = stage_of(mntp_batch_size=2, tuning=tuning)
    trained = build(stage, backbone(Kind("qwen2", tied=False, bos="none")))
    before = {name: weight.clone() for name, weight in trained.module.state_dict().items()}
    rows = [{"text": letter} for letter in "abc"]
    trainer(stage, trained, rows, tmp_path / "run", micro_batch=micro_batch).train()
    reports = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(report["loss"], report["gradient_norm"]) for report in reports] == [(0.0, 0.0)] * 2
    for name, weight in trained.module.state_dict().items():
        assert torch.equal(weight, before[name]), name


# ---------------------------------------------------------------------------------------------------- what is trained


def two_steps(kind: Kind, backbone: Backbone, folder: Path, **changes: Any) -> tuple[MaskedNextToken, Trainable, Any]:
    """Train; return what was trained beside the backbone's own language model."""
    stage = stage_of(mntp_batch_size=3, mntp_learning_rate=1e-2, schedule="constant", **changes)
    trained = build(stage, backbone(kind))
    trainer(stage, trained, texts(), folder / "run").train()
    return stage, trained, AutoModelForCausalLM.from_pretrained(backbone(kind))


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("kind", [LLAMA, CAPPED, Kind("llama", tied=True), Kind("gemma3", tied=True)], ids=str)
def test_the_head_moves_only_where_it_is_the_embeddings(
    kind: Kind, tuning: str, backbone: Backbone, tmp_path: Path
) -> None:
    stage, trained, before = two_steps(kind, backbone, tmp_path, tuning=tuning)
    module: Any = trained.module
    head, embeddings = module.head.weight, module.body.get_input_embeddings().weight
    moves = tuning == "full"
    assert torch.equal(embeddings, before.get_input_embeddings().weight) is not moves
    assert torch.equal(head, before.get_output_embeddings().weight) is not (moves and kind.tied)
    assert torch.equal(head, embeddings) is kind.tied
    # It is neither trained nor saved where it is one of its own.
    parameters = {id(parameter) for parameter in module.parameters()}
    assert (id(head) in parameters) is kind.tied
    assert head.requires_grad is (moves and kind.tied)
    folder = finished(stage, trained, tmp_path / "left")
    body: Any = type(before.base_model).from_pretrained(folder)
    assert torch.equal(body.get_input_embeddings().weight, embeddings)
    assert not torch.equal(body.layers[0].mlp.up_proj.weight, before.base_model.layers[0].mlp.up_proj.weight)
    assert not [path.name for path in folder.iterdir() if "adapter" in path.name]
