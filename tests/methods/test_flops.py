from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from genembench.problem import Problem
from methods.autoregembed import AutoRegEmbed
from methods.parts.adapt import LoraShape, trainable
from methods.parts.backbone import load_model, load_tokenizer
from methods.parts.decode import Decoder
from methods.parts.flops import pass_cost
from methods.parts.forward import TOKENS_PER_PASS, run_body
from methods.parts.ledger import Ledger, charging
from methods.parts.readout import mean
from methods.parts.tokens import TextTemplate
from methods.parts.vocabulary import add_tokens, ids_of, make_room
from runners.engine import Engine
from runners.stages import FromFiles


class Everywhere:
    """Replaces the module tracker of a counter: its hooks break where a gradient is taken inside a forward pass."""

    parents = ("Global",)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class Counter(FlopCounterMode):
    """Torch's counter of everything together."""

    def __init__(self) -> None:
        super().__init__(display=False)
        self.mod_tracker: Any = Everywhere()


class Eager(FromFiles):
    """A stage's start whose attention the counter sees."""

    def _load(self, folder: Path, *, head: bool, causal: bool) -> Any:
        return load_model(folder, device=torch.device("cpu"), head=head, causal=causal, attention="eager")


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


@pytest.mark.parametrize("differentiable", [True, False])
def test_decoding_flops_equal_torchs_counter_under_eager_attention(tiny_backbone: Path, differentiable: bool) -> None:
    """A frozen decoder: forward, and where the prefix wants a gradient the products for inputs; no weight's product."""
    decoder = Decoder(load_model(tiny_backbone, device=torch.device("cpu"), head=True, attention="eager"))
    targets = load_tokenizer(tiny_backbone)(TEXTS, add_special_tokens=False)["input_ids"]
    pass_cost(decoder.body, input_gradient=differentiable)
    ledger = Ledger()
    prefixes = torch.randn(len(targets), 1, 5, 32, requires_grad=differentiable)
    with charging(ledger), Counter() as counter:
        for prefix_1kD, target in zip(prefixes, targets, strict=True):
            logp_M = decoder.token_logp(decoder.hidden(prefix_1kD, [target]), torch.tensor(target))
            if differentiable:
                logp_M.sum().backward()
    assert ledger.model_flops == pytest.approx(counter.get_total_flops(), rel=4e-3)
    # The last token of a target is predicted and never fed.
    assert ledger.real_tokens == ledger.padded_tokens == sum(5 + len(target) - 1 for target in targets)
    assert ledger.sequences == len(targets)


def test_a_divergence_charges_the_head_for_both_sides(tiny_backbone: Path) -> None:
    decoder = Decoder(load_model(tiny_backbone, device=torch.device("cpu"), head=True, attention="eager"))
    ledger = Ledger()
    first, second = (torch.randn(7, 32, requires_grad=True) for _ in range(2))
    with charging(ledger), Counter() as counter:
        decoder.divergence(first, second, "js").sum().backward()
    # Two sides, forward and back to the input, two FLOPs per multiply-add, 7 positions of a head of 400 by 32.
    assert ledger.model_flops == 2 * 2 * 2 * 7 * 400 * 32 == counter.get_total_flops()


def test_lora_with_trained_token_rows_equals_torchs_counter(tiny_backbone: Path) -> None:
    """Trained rows make the first layer's inputs want a gradient, which adapters alone do not."""
    tokenizer = load_tokenizer(tiny_backbone)
    names = ["<EMBED0>", "<EMBED1>"]
    add_tokens(tokenizer, names)
    counted: dict[bool, float] = {}
    for trained in (True, False):
        model = load_model(tiny_backbone, device=torch.device("cpu"), attention="eager")
        make_room(model, tokenizer)
        body = trainable(model, "lora", LoraShape(4, 8, 0.1), new_tokens=ids_of(tokenizer, names) if trained else ())
        rows = TextTemplate(suffix="".join(names)).rows(tokenizer, TEXTS, 64)
        pass_cost(body)
        ledger = Ledger()
        with charging(ledger), Counter() as counter:
            for row in rows:
                run_body(body, [row], mean).sum().backward()
        assert ledger.model_flops == pytest.approx(counter.get_total_flops(), rel=2e-3)
        counted[trained] = ledger.model_flops
    assert counted[True] > 1.02 * counted[False]


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("stage", ["compress", "sigmoid", "js", "prepare"])
def test_all_of_autoregembeds_passes_are_charged(
    tiny_backbone: Path, stage: str, tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One row a pass: no padding, which torch counts and we do not.
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", 1)
    method = AutoRegEmbed(tuning=tuning, loss="js" if stage == "js" else "sigmoid", hard_negatives=2)  # type: ignore[arg-type]
    compress, align = method.stages()
    chosen: Any = compress if stage == "compress" else align
    trained = chosen.build(Eager(tiny_backbone, tiny_backbone, Engine()))
    rows: list[dict[str, Any]] = [
        {"query": TEXTS[0], "positive": TEXTS[1], "negative": [TEXTS[2], "a"], "reference_logp": -torch.ones(3)},
        {"query": TEXTS[2], "positive": TEXTS[0], "negative": ["the nurse"], "reference_logp": -torch.ones(3)},
    ]
    if stage == "compress":
        rows = [{"context": one, "instruction": "what is it?", "target": TEXTS[1]} for one in TEXTS]

    def step() -> None:
        if stage == "prepare":
            with torch.no_grad():
                chosen.prepare(trained, rows)
        else:
            (term,) = trained.module(chosen.collate(rows, trained.tokenizer)).values()
            term.sum.backward()

    step()  # the probes must not run under the counter
    ledger = Ledger()
    with charging(ledger), Counter() as counter:
        step()
    assert ledger.model_flops == pytest.approx(counter.get_total_flops(), rel=4e-3)
    assert ledger.real_tokens == ledger.padded_tokens


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
