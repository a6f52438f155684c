"""The head of a language model: its logits, log-probabilities with frozen and with trained weights, and their cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, CohereConfig, GraniteConfig

from genembench.problem import Problem
from methods.anchor_embedding import AnchorEmbedding
from methods.llm2vec import LLM2Vec
from methods.parts import head as head_module
from methods.parts.backbone import load_model
from methods.parts.forward import TOKENS_PER_PASS
from methods.parts.head import Head
from methods.parts.ledger import Ledger, charging
from runners.engine import Engine
from tests.methods.backbones import CONFIGURATIONS, Kind
from tests.methods.stages.common import pairs, texts
from tests.methods.test_flops import Counter, Eager

SCALED: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
Load = Callable[..., Any]


def load(folder: Path) -> Any:
    return load_model(folder, device=torch.device("cpu"), head=True)


def hidden_and_ids(model: Any, count: int = 11) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (count,), generator=generator)
    return torch.randn(count, model.config.hidden_size, generator=generator), ids


# ---------------------------------------------------------------------------------------------------- logits


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", CONFIGURATIONS)
def test_logits_are_the_models_own(architecture: str, tied: bool, backbone: Callable[[Kind], Path]) -> None:
    model = load(backbone(Kind(architecture, tied=tied, bos="known", spare=3)))
    head = Head(model)
    ids = torch.tensor([[5, 80, 41, 300, 17, 200, 9, 33]])
    with torch.no_grad():
        wanted = model(input_ids=ids).logits[0]
        got = head.logits(model.base_model(input_ids=ids).last_hidden_state[0])
    assert wanted.shape[1] == head.vocabulary == 403
    torch.testing.assert_close(got, wanted)
    # Capping and scales would not show in logits that are near 0.
    assert wanted.abs().max() > 1
    assert (head.weight is model.get_input_embeddings().weight) is tied


@pytest.mark.parametrize(
    "config",
    [CohereConfig(**SCALED, logit_scale=0.25), GraniteConfig(**SCALED, logits_scaling=4.0, embedding_multiplier=3.0)],
    ids=["cohere", "granite"],
)
def test_scaled_logits_are_the_models_own(config: Any) -> None:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.tensor([[5, 6, 41, 30]])
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids).last_hidden_state[0]
        wanted = model(input_ids=ids).logits[0]
        torch.testing.assert_close(Head(model).logits(hidden), wanted)
        # Without the scale they would be four times as large.
        torch.testing.assert_close(model.get_output_embeddings()(hidden), 4 * wanted)


def test_a_model_whose_logits_are_made_otherwise_is_refused(
    backbone: Callable[[Kind], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(backbone(Kind("llama")))
    forward = type(model).forward

    def shifted(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = forward(self, *args, **kwargs)
        output.logits = output.logits * 1.1
        return output

    monkeypatch.setattr(type(model), "forward", shifted)
    with pytest.raises(Problem, match="are not its head applied to its last hidden states"):
        Head(model)


def test_looking_at_a_model_leaves_its_mode_alone(backbone: Callable[[Kind], Path]) -> None:
    model = load(backbone(Kind("llama")))
    for mode in (True, False):
        Head(model.train(mode))
        assert model.training is mode


# ---------------------------------------------------------------------------------------------------- probabilities


@pytest.mark.parametrize("positions", [1, 4, 1000])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_frozen_and_trained_heads_give_the_same(
    architecture: str, positions: int, backbone: Callable[[Kind], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients of the hidden states, in blocks of any size; and of the weights where they are trained."""
    model = load(backbone(Kind(architecture, tied=False, bos="known")))
    for name in ("LOGITS_AT_ONCE", "RECOMPUTED_AT_ONCE"):
        monkeypatch.setattr(head_module, name, positions * model.config.vocab_size + 1)
    hidden, ids = hidden_and_ids(model)
    factor = torch.linspace(1, 2, len(ids))
    cap = getattr(model.config, "final_logit_softcapping", None)
    weight = model.get_output_embeddings().weight

    plain = hidden.clone().requires_grad_()
    wanted_weight = weight.detach().clone().requires_grad_()
    logits = plain @ wanted_weight.T
    logits = cap * torch.tanh(logits / cap) if cap else logits
    wanted = logits.log_softmax(-1)[torch.arange(len(ids)), ids]
    (factor * wanted).sum().backward()
    assert plain.grad is not None
    assert wanted_weight.grad is not None
    for trained in (False, True):
        weight.requires_grad_(trained)
        weight.grad = None
        own = hidden.clone().requires_grad_()
        got = Head(model).token_logp(own, ids)
        assert got.dtype == torch.float32
        (factor * got).sum().backward()
        assert own.grad is not None
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(own.grad, plain.grad, atol=1e-5, rtol=1e-4)
        if trained:
            assert weight.grad is not None
            torch.testing.assert_close(weight.grad, wanted_weight.grad, atol=1e-5, rtol=1e-4)
        else:
            assert weight.grad is None
        with torch.no_grad():
            torch.testing.assert_close(Head(model).token_logp(hidden, ids), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
def test_no_positions_are_no_numbers(trained: bool, backbone: Callable[[Kind], Path]) -> None:
    model = load(backbone(Kind("llama", tied=False)))
    model.get_output_embeddings().weight.requires_grad_(trained)
    hidden = torch.zeros(0, model.config.hidden_size, requires_grad=True)
    got = Head(model).token_logp(hidden, torch.zeros(0, dtype=torch.long))
    assert got.shape == (0,)
    got.sum().backward()


# ---------------------------------------------------------------------------------------------------- cost


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("wanted", [False, True], ids=["hidden states given", "hidden states trained"])
def test_the_head_charges_what_torch_counts(trained: bool, wanted: bool, backbone: Callable[[Kind], Path]) -> None:
    model = load(backbone(Kind("llama", tied=False)))
    head = Head(model)
    head.linear.requires_grad_(trained)
    hidden, ids = hidden_and_ids(model)
    hidden.requires_grad_(wanted)
    ledger = Ledger()
    with charging(ledger), Counter() as counter:
        logp = head.token_logp(hidden, ids)
        if trained or wanted:
            logp.sum().backward()
    products = 1 + int(trained) + int(wanted)
    assert ledger.model_flops == counter.get_total_flops() == products * 2 * 11 * 32 * model.config.vocab_size
    assert (ledger.sequences, ledger.real_tokens, ledger.padded_tokens) == (0, 0, 0)


STAGES = {
    "anchor": lambda tuning: AnchorEmbedding(anchor_tuning=tuning, lora_rank=4, lora_dropout=0.0).stages()[0],
    "mntp": lambda tuning: LLM2Vec(tuning=tuning, lora_rank=4, lora_dropout=0.0).stages()[0],
    "simcse": lambda tuning: LLM2Vec(trained="simcse", tuning=tuning, lora_rank=4, lora_dropout=0.0).stages()[1],
}


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_charges_what_torch_counts(
    name: str, tied: bool, tuning: str, backbone: Callable[[Kind], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One row a pass: no padding, which torch counts and we do not.
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", 1)
    folder = backbone(Kind("llama", tied=tied))
    stage: Any = STAGES[name](tuning)
    trained = stage.build(Eager(folder, folder, Engine()))
    rows = pairs() if name == "anchor" else texts()

    def step() -> None:
        torch.manual_seed(0)
        outputs = trained.module(stage.collate(rows, trained.tokenizer))
        terms = stage.joint_loss(outputs) if name == "simcse" else outputs
        torch.stack([term.coefficient * term.sum for term in terms.values()]).sum().backward()

    step()  # the probes must not run under the counter
    ledger = Ledger()
    with charging(ledger), Counter() as counter:
        step()
    counted = counter.get_total_flops()
    assert ledger.model_flops == pytest.approx(counted, rel=4e-3)
    assert ledger.real_tokens == ledger.padded_tokens
