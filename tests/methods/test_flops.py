from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from genembench.problem import Problem
from methods.parts.adapt import LoraShape, trainable
from methods.parts.backbone import load_model, load_tokenizer
from methods.parts.flops import pass_cost
from methods.parts.forward import run_body
from methods.parts.ledger import Ledger, charging
from methods.parts.readout import mean
from methods.parts.tokens import TextTemplate

TEXTS = ["the cat sees a ball", "a dog", "the old mill near the bridge on a cold morning"]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_training_flops_equal_torchs_counter_under_eager_attention(tiny_backbone: Path, tuning: str) -> None:
    model = load_model(tiny_backbone, device=torch.device("cpu"), attention="eager")
    body = trainable(model, "lora" if tuning == "lora" else "full", LoraShape(4, 8, 0.1))
    rows = TextTemplate().rows(load_tokenizer(tiny_backbone), TEXTS, 64)
    ledger = Ledger()
    pass_cost(body)  # its probe must not run under the counter
    with charging(ledger), FlopCounterMode(display=False) as counter:
        # One row a pass: no padding, which torch counts and we do not.
        for row in rows:
            run_body(body, [row], mean).sum().backward()
    # The counter also sees the tiny product that makes the rotary angles.
    assert ledger.model_flops == pytest.approx(counter.get_total_flops(), rel=2e-3)
    assert ledger.real_tokens == ledger.padded_tokens == sum(map(len, rows))


def test_encoding_flops_equal_torchs_counter_under_eager_attention(tiny_backbone: Path) -> None:
    model = load_model(tiny_backbone, device=torch.device("cpu"), attention="eager")
    rows = TextTemplate().rows(load_tokenizer(tiny_backbone), TEXTS, 64)
    ledger = Ledger()
    with torch.no_grad():
        pass_cost(model)
        with charging(ledger), FlopCounterMode(display=False) as counter:
            for row in rows:
                run_body(model, [row], mean)
    assert ledger.model_flops == pytest.approx(counter.get_total_flops(), rel=4e-3)


def test_padding_is_charged_as_tokens_and_not_as_model_flops(tiny_backbone: Path) -> None:
    model = load_model(tiny_backbone, device=torch.device("cpu"))
    rows = TextTemplate().rows(load_tokenizer(tiny_backbone), TEXTS, 64)
    alone, together = Ledger(), Ledger()
    with torch.no_grad():
        with charging(alone):
            for row in rows:
                run_body(model, [row], mean)
        with charging(together):
            run_body(model, rows, mean, max_tokens=10_000)
    assert together.model_flops == pytest.approx(alone.model_flops)
    assert together.real_tokens == alone.real_tokens
    assert together.padded_tokens == 3 * max(map(len, rows))


def test_the_probe_leaves_the_random_state_alone(tiny_backbone: Path) -> None:
    body = trainable(load_model(tiny_backbone, device=torch.device("cpu")), "lora", LoraShape(4, 8, 0.5))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    pass_cost(body)
    assert torch.equal(torch.rand(1), expected)


def test_the_transposed_layers_of_gpt2_are_counted(tiny_backbone: Path) -> None:
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    model = GPT2Model(config).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        cost = pass_cost(model)
        with FlopCounterMode(display=False) as counter:
            model(input_ids=torch.zeros(1, 10, dtype=torch.long))
    # Two layers of 32x96, 32x32, 32x128 and 128x32.
    assert cost.per_token == 2 * 2 * (32 * 96 + 32 * 32 + 2 * 32 * 128)
    assert cost.of([10]) == pytest.approx(counter.get_total_flops())


def test_a_model_whose_matrices_are_not_all_seen_is_refused() -> None:
    class Experts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fused = torch.nn.Parameter(torch.zeros(4, 8, 8))

    with pytest.raises(Problem, match=r"cannot be counted: 1 weights are in no linear layer, the first is fused"):
        pass_cost(Experts())
