"""Anchor-Embedding's reconstruction against the plain implementation: losses, gradients, targets, charges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from genembench.problem import Problem
from methods.anchor_embedding import AnchorEmbedding
from methods.contract import Trainable
from methods.parts.forward import TOKENS_PER_PASS
from methods.parts.ledger import Ledger, charging
from methods.stages.anchor import Anchor, Direction
from tests.methods.backbones import CONFIGURATIONS, Files, Kind
from tests.methods.stages.common import (
    Backbone,
    as_in_the_module,
    assert_gradients,
    build,
    finished,
    gradients,
    of_adapters,
    other_padding,
    pairs,
    step,
    wake_adapters,
)
from tests.reference import anchor as plain

LLAMA, CAPPED = Kind("llama", tied=False), Kind("gemma2", tied=False, bos="known")
OTHERS = [
    Kind("llama", tied=True, bos="known", side="left"),
    Kind("mistral", tied=False, bos="none"),
    Kind("qwen2", tied=True, bos="none", spare=20),
    Kind("qwen3", tied=False, bos="known"),
    Kind("gemma", tied=True, side="left"),
    Kind("gemma2", tied=True),
    Kind("gemma3", tied=False),
    Kind("gpt2", tied=True, bos="known"),
    Kind("gpt2", tied=False, bos="none", side="left"),
]
REDUCTIONS: tuple[plain.Reduction, ...] = ("token-mean", "sequence-sum")
Case = tuple[Kind, float, plain.Reduction]
CASES: list[Case] = [
    *[(kind, alpha, reduction) for kind in (LLAMA, CAPPED) for alpha in (0.0, 0.2, 1.0) for reduction in REDUCTIONS],
    *[(kind, 0.2, REDUCTIONS[i % 2]) for i, kind in enumerate(OTHERS)],
]
# No BOS and no unknown token: id 0, which padding is made of, stands nowhere else.
NO_ZERO = Kind("qwen2", tied=False, bos="none")


def names(case: Case) -> str:
    return "-".join(map(str, case))


def stage_of(**changes: Any) -> Anchor:
    settings: dict[str, Any] = {"lora_rank": 4, "lora_alpha": 12, "lora_dropout": 0.0}
    stage = AnchorEmbedding(**settings | changes).stages()[0]
    assert isinstance(stage, Anchor)
    return stage


def wanted_loss(stage: Anchor, model: Any, folder: Path) -> Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    instruction = "Given a premise, retrieve a hypothesis that is entailed by the premise;"
    rows = [plain.Pair.of(tokenizer, row["query"], row["document"], instruction) for row in pairs()]
    return plain.loss(model, rows, alpha=stage.alpha, reduction=stage.reduction)


def collated(stage: Anchor, folder: Path) -> list[Direction]:
    return stage.collate(pairs(), Files(folder, folder).tokenizer())


# ---------------------------------------------------------------------------------------------------- equality


@pytest.mark.parametrize("case", CASES, ids=names)
def test_loss_and_gradients_are_the_plain_ones(case: Case, backbone: Backbone) -> None:
    kind, alpha, reduction = case
    stage = stage_of(alpha=alpha, reduction=reduction)
    trained = build(stage, backbone(kind))
    model: Any = AutoModelForCausalLM.from_pretrained(backbone(kind)).train()
    wanted = wanted_loss(stage, model, backbone(kind))
    wanted.backward()
    assert step(stage, trained, pairs()).item() == pytest.approx(wanted.item(), rel=1e-4)
    found = gradients(trained)
    # Head and embeddings too: an untied head is one more weight, a tied one is the embeddings.
    assert ("lm_head.weight" in found) is not kind.tied
    assert_gradients(found, as_in_the_module(model))


@pytest.mark.parametrize("kind", [LLAMA, Kind("gemma3", tied=True), Kind("gpt2", tied=True, bos="known")], ids=str)
def test_adapters_get_the_gradients_of_the_weights_they_change(kind: Kind, backbone: Backbone, tmp_path: Path) -> None:
    stage = stage_of(anchor_tuning="lora")
    trained = build(stage, backbone(kind))
    wake_adapters(trained)
    model: Any = AutoModelForCausalLM.from_pretrained(finished(stage, trained, tmp_path / "merged")).train()
    wanted = wanted_loss(stage, model, backbone(kind))
    wanted.backward()
    assert step(stage, trained, pairs()).item() == pytest.approx(wanted.item(), rel=1e-4)
    expected = of_adapters(trained, model, scale=12 / 4)
    assert len(expected) >= 2 * 2 * 4
    assert_gradients(gradients(trained), expected)


def test_every_architecture_is_tried() -> None:
    assert {kind.architecture for kind, _, _ in CASES} == set(CONFIGURATIONS)


# ---------------------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("tokens", [1, 70, 100_000])
def test_how_texts_are_grouped_changes_nothing(
    tokens: int, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One text a pass has no padding at all, everything in one has as much as there can be."""
    stage = stage_of()
    trained = build(stage, backbone(LLAMA))
    wanted, expected = step(stage, trained, pairs()).item(), gradients(trained)
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", tokens)
    assert step(stage, trained, pairs()).item() == pytest.approx(wanted, rel=1e-5)
    assert_gradients(gradients(trained), expected)


def test_what_padding_holds_changes_nothing(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", 100_000)
    stage = stage_of()
    trained = build(stage, backbone(NO_ZERO))
    wanted, expected = step(stage, trained, pairs()).item(), gradients(trained)
    with other_padding(trained) as changed:
        got = step(stage, trained, pairs()).item()
    # One pass to encode and one to decode, and both were padded.
    assert len(changed) == 2
    assert min(changed) > 100
    assert got == pytest.approx(wanted, rel=1e-6)
    assert_gradients(gradients(trained), expected, 1e-5)


def test_the_first_token_is_predicted_from_the_anchor_alone(backbone: Backbone) -> None:
    """The shortest target beside a long one: what a padded row yields is what the anchor yields by itself."""
    stage = stage_of(alpha=1.0, reduction="sequence-sum", max_target_length=60)
    trained = build(stage, backbone(LLAMA))
    end = trained.tokenizer.eos_token_id
    short = [{"query": "the nurse", "document": ""}]
    with torch.no_grad():
        (alone,) = trained.module(stage.collate(short, trained.tokenizer)).values()
        (others,) = trained.module(stage.collate(pairs(), trained.tokenizer)).values()
        (together,) = trained.module(stage.collate([*pairs(), *short], trained.tokenizer)).values()
        model = AutoModelForCausalLM.from_pretrained(backbone(LLAMA)).eval()
        anchor = plain.anchor(model, stage.collate(short, trained.tokenizer)[0].sources[0].ids)
        wanted = -model(inputs_embeds=anchor[None, None]).logits[0, 0].log_softmax(-1)[end]
    assert alone.sum.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert together.sum.item() - others.sum.item() == pytest.approx(wanted.item(), rel=1e-3)


# ---------------------------------------------------------------------------------------------------- what is computed


def charged(stage: Anchor, trained: Trainable) -> Ledger:
    batch, ledger = stage.collate(pairs(), trained.tokenizer), Ledger()
    with charging(ledger):
        trained.module(batch)
    return ledger


def test_a_direction_that_counts_nothing_is_not_computed(backbone: Backbone) -> None:
    ledgers = {}
    for alpha in (0.0, 0.2, 1.0):
        stage = stage_of(alpha=alpha)
        trained = build(stage, backbone(LLAMA))
        ledgers[alpha] = charged(stage, trained)
        (gave,) = [set(trained.module(stage.collate(pairs(), trained.tokenizer)))]
        assert gave == {0.0: {"d2q"}, 0.2: {"q2d", "d2q"}, 1.0: {"q2d"}}[alpha]
    tokenizer = AutoTokenizer.from_pretrained(backbone(LLAMA))
    instruction = AnchorEmbedding().train_instruction
    rows = [plain.Pair.of(tokenizer, row["query"], row["document"], instruction) for row in pairs()]
    # A target of n tokens is decoded from n: the anchor, and all but the last.
    q2d = sum(len(row.query_source) + len(row.document_target) for row in rows)
    d2q = sum(len(row.document_source) + len(row.query_target) for row in rows)
    assert ledgers[1.0].real_tokens == q2d
    assert ledgers[0.0].real_tokens == d2q
    assert ledgers[0.2].real_tokens == q2d + d2q
    assert [ledgers[alpha].sequences for alpha in (0.0, 0.2, 1.0)] == [10, 20, 10]
    assert ledgers[0.2].model_flops == pytest.approx(ledgers[0.0].model_flops + ledgers[1.0].model_flops, rel=1e-6)
    assert 0 < ledgers[1.0].model_flops < 0.9 * ledgers[0.2].model_flops


# ---------------------------------------------------------------------------------------------------- targets

TURN = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def test_targets_are_the_text_and_an_end_token(backbone: Backbone) -> None:
    """Neither BOS nor instruction nor chat wrapper is predicted; what is encoded has them."""
    tokenizer = Files(backbone(LLAMA), backbone(LLAMA)).tokenizer()
    tokenizer.chat_template = TURN
    q2d, d2q = stage_of().collate(pairs(), tokenizer)
    plainly: Any = AutoTokenizer.from_pretrained(backbone(LLAMA))
    for one, target, source in ((q2d, "document", "query"), (d2q, "query", "document")):
        own = [plainly(row[target], add_special_tokens=False)["input_ids"] for row in pairs()]
        assert one.targets == [[*ids, plainly.eos_token_id] for ids in own]
        for row, ids in zip(pairs(), one.sources, strict=True):
            assert ids.ids[-1] == plainly.eos_token_id
            said = AnchorEmbedding().train_instruction + " " if source == "query" else ""
            wrapped = f"<|im_start|>user\n{said}{row[source]}<|im_end|>"
            assert plainly.decode(ids.ids) == f"<s>{wrapped}</s>"


def test_long_targets_are_cut_and_end_all_the_same(backbone: Backbone) -> None:
    stage = stage_of(max_target_length=5)
    for one, target in zip(collated(stage, backbone(LLAMA)), ("document", "query"), strict=True):
        tokenizer: Any = AutoTokenizer.from_pretrained(backbone(LLAMA))
        for row, ids in zip(pairs(), one.targets, strict=True):
            whole = tokenizer(row[target], add_special_tokens=False)["input_ids"]
            assert ids == [*whole[:4], tokenizer.eos_token_id]


def test_targets_weigh_their_tokens_or_their_pairs(backbone: Backbone) -> None:
    batch = collated(stage_of(), backbone(LLAMA))
    tokens = {one.name: float(sum(len(target) for target in one.targets)) for one in batch}
    assert stage_of(reduction="token-mean").weigh(batch) == tokens
    assert stage_of(reduction="sequence-sum").weigh(batch) == {"q2d": 5.0, "d2q": 5.0}
    assert [one.coefficient for one in batch] == pytest.approx([0.2, 0.8])


def test_a_tokenizer_without_end_token_is_refused(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Files.tokenizer

    def without(self: Files) -> Any:
        tokenizer: Any = load(self)
        tokenizer.eos_token = None
        return tokenizer

    monkeypatch.setattr(Files, "tokenizer", without)
    with pytest.raises(Problem, match="no end token"):
        build(stage_of(), backbone(LLAMA))


@pytest.mark.parametrize("bad", [{"alpha": -0.1}, {"alpha": 1.1}, {"max_target_length": 0}])
def test_what_is_no_mixture_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(Problem, match="not a loss"):
        stage_of(**bad)
