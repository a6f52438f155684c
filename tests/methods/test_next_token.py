from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from methods.parts import head as head_module
from methods.parts.backbone import load_model, load_tokenizer
from methods.parts.flops import pass_cost
from methods.parts.forward import TOKENS_PER_PASS
from methods.parts.head import Head
from methods.parts.ledger import Ledger, charging
from methods.parts.next_token import next_token_loss
from methods.parts.tokens import TextTemplate, TokenRow

# Of different lengths, so that most are padded; the last is the shortest row there is.
TEXTS = ["the cat sees a ball", "a dog near the bridge on a cold morning", "the nurse", "🦊 the fox", "a"]


@pytest.fixture
def model(tiny_backbone: Path) -> Any:
    return load_model(tiny_backbone, device=torch.device("cpu"), head=True, attention="eager")


@pytest.fixture
def rows(tiny_backbone: Path) -> list[TokenRow]:
    return TextTemplate().rows(load_tokenizer(tiny_backbone), TEXTS, 64)


def plain(model: Any, rows: Sequence[TokenRow]) -> Tensor:
    """Sum of what transformers itself computes from labels, padding marked by -100; it takes the mean."""
    longest = max(map(len, rows))
    ids = torch.tensor([row.ids + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    labels = ids.masked_fill(mask == 0, -100)
    predicted = sum(len(row) - 1 for row in rows)
    loss: Tensor = model(input_ids=ids, attention_mask=mask, labels=labels).loss * predicted
    return loss


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert len(one) > 10
    for name, value in one.items():
        scale = value.abs().max().item()
        torch.testing.assert_close(other[name], value, atol=1e-5 * scale, rtol=1e-4, msg=name)


def test_the_loss_is_the_one_of_transformers(model: Any, rows: list[TokenRow]) -> None:
    expected = plain(model, rows)
    expected.backward()
    wanted = gradients(model)
    term = next_token_loss(model.model, Head(model), rows)
    term.sum.backward()
    assert term.sum.item() == pytest.approx(expected.item(), rel=1e-5)
    assert term.weight == sum(map(len, rows)) - len(rows)
    same(wanted, gradients(model))


@pytest.mark.parametrize("positions", [1, 3, 1000])
def test_blocks_of_logits_change_neither_loss_nor_gradients(
    model: Any, rows: list[TokenRow], positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = next_token_loss(model.model, Head(model), rows)
    whole.sum.backward()
    wanted = gradients(model)
    widths: list[int] = []
    block = Head._logp

    def counted(self: Head, hidden_ND: Tensor, target_N: Tensor) -> Tensor:
        widths.append(len(target_N))
        return block(self, hidden_ND, target_N)

    monkeypatch.setattr(Head, "_logp", counted)
    monkeypatch.setattr(head_module, "RECOMPUTED_AT_ONCE", positions * model.config.vocab_size + 7)
    term = next_token_loss(model.model, Head(model), rows)
    forward, predicted = list(widths), int(term.weight)
    assert max(forward) == min(positions, predicted)
    assert sum(forward) == predicted
    term.sum.backward()
    # In the backward pass each block is computed once more, where there are several.
    assert sorted(widths) == sorted(forward * (2 if len(forward) > 1 else 1))
    assert term.sum.item() == pytest.approx(whole.sum.item(), rel=1e-6)
    same(wanted, gradients(model))


def test_groups_of_similar_length_change_neither_loss_nor_gradients(
    model: Any, rows: list[TokenRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers = [Ledger(), Ledger()]
    found = []
    for ledger, tokens in zip(ledgers, (10_000, 8), strict=True):
        monkeypatch.setitem(TOKENS_PER_PASS, "cpu", tokens)
        with charging(ledger):
            term = next_token_loss(model.model, Head(model), rows)
        term.sum.backward()
        found.append((term.sum.item(), gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    same(found[0][1], found[1][1])
    # What is charged is what the texts are, however they are padded.
    assert ledgers[0].model_flops == pytest.approx(ledgers[1].model_flops)
    assert ledgers[0].real_tokens == ledgers[1].real_tokens == sum(map(len, rows))
    assert ledgers[0].sequences == ledgers[1].sequences == len(rows)
    assert ledgers[0].padded_tokens == len(rows) * max(map(len, rows)) > ledgers[1].padded_tokens


@pytest.mark.parametrize("training", [True, False])
def test_flops_equal_torchs_counter_under_eager_attention(model: Any, rows: list[TokenRow], training: bool) -> None:
    ledger = Ledger()
    with torch.set_grad_enabled(training):
        pass_cost(model.model)  # its probe must not run under the counter
        head = Head(model)
        with charging(ledger), FlopCounterMode(display=False) as counter:
            # One row a pass: no padding, which torch counts and we do not.
            for row in rows:
                term = next_token_loss(model.model, head, [row])
                if training:
                    term.sum.backward()
    # The counter also sees the tiny product that makes the rotary angles.
    assert ledger.model_flops == pytest.approx(counter.get_total_flops(), rel=4e-3)


def test_logits_are_compared_in_float32(model: Any) -> None:
    torch.manual_seed(0)
    hidden, target = torch.randn(6, model.config.hidden_size), torch.tensor([0, 1, 2, 3, 4, 0])
    expected = torch.log_softmax(hidden @ model.lm_head.weight.T, dim=1)[range(6), target]
    torch.testing.assert_close(Head(model).token_logp(hidden, target), expected, rtol=1e-5, atol=1e-6)
    half = Head(model.bfloat16()).token_logp(hidden.bfloat16(), target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, rtol=5e-2, atol=5e-2)
