"""Which bodies take packed rows, and why others do not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM

from genembench.problem import Problem
from methods.parts import packed_attention as packed_module
from methods.parts import packing
from methods.parts.backbone import attention_kernel, attention_of, load_model
from methods.parts.dropout import set_attention_dropout
from methods.parts.packed_attention import Window, attend_by_length, packed_attention
from methods.parts.packed_rows import packs
from methods.parts.packing import packing_refusal
from tests.methods.backbones import CONFIGURATIONS, Kind

CPU = torch.device("cpu")
Backbone = Callable[[Kind], Path]
SHAPE: dict[str, Any] = CONFIGURATIONS["llama"][1]
OTHERS: dict[str, tuple[type[Any], dict[str, Any], str]] = {
    "own attention": (
        transformers.BloomConfig,
        {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        "attention does not go through",
    ),
    "no attention": (
        transformers.MambaConfig,
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
        "2 of 2 layers do not attend",
    ),
    "boundaries not handed on": (transformers.StableLmConfig, SHAPE, "boundaries of packed rows do not reach"),
    "chunks": (
        transformers.Llama4TextConfig,
        SHAPE | {"intermediate_size_mlp": 48, "num_local_experts": 2, "head_dim": 8, "attention_chunk_size": 16},
        "mask has a window of 16 tokens, and its attention is told None",
    ),
    "a pattern": (
        transformers.Gemma3TextConfig,
        CONFIGURATIONS["gemma3"][1] | {"use_bidirectional_attention": True},
        "pattern of their own",
    ),
    "sinks": (
        transformers.GptOssConfig,
        SHAPE | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 8},
        "attention sinks",
    ),
    "caps": (*CONFIGURATIONS["gemma2"], "soft-capping"),
}


def made(kind: type[Any], settings: dict[str, Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = kind(**{"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | settings)
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("what", OTHERS)
def test_what_does_not_fit_is_refused_with_the_reason(what: str) -> None:
    kind, settings, reason = OTHERS[what]
    assert reason in str(packing_refusal(made(kind, settings).eval(), "cpu", "float32"))


def test_a_model_that_was_asked_is_as_it_was(backbone: Backbone) -> None:
    model: Any = load_model(backbone(Kind("qwen3")), device=CPU, head=True)
    model.train()
    model.model.layers[1].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    state = torch.get_rng_state()
    assert packing_refusal(model, "cpu", "float32") is None
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert model.config._attn_implementation == "sdpa"
    # And a model that diverged is refused, not taken for one whose rows agree.
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    assert "differ" in str(packing_refusal(model, "cpu", "float32"))


@pytest.mark.parametrize("causal", [True, False])
def test_rows_that_see_each_other_are_noticed(
    backbone: Backbone, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attention that forgets where rows end, as if an architecture had not told it."""

    def forgetful(*args: Any, cu_seq_lens_q: Tensor | None = None, **given: Any) -> Any:
        ends = None if cu_seq_lens_q is None else cu_seq_lens_q[[0, -1]]
        return attend(*args, cu_seq_lens_q=ends, **given)

    attend: Any = packed_attention
    model = load_model(backbone(Kind()), device=CPU, causal=causal)
    assert packing_refusal(model, "cpu", "float32") is None
    try:
        AttentionInterface.register("packed", forgetful)
        refusal = packing_refusal(model, "cpu", "float32")
    finally:
        AttentionInterface.register("packed", packed_attention)
    assert "packed rows differ from the same rows alone" in str(refusal)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_attention_dropout_is_seen_when_it_is_set_and_in_training_only(backbone: Backbone, family: str) -> None:
    body = load_model(backbone(Kind(family)), device=CPU, attention="packed").train()
    assert packs(body)
    set_attention_dropout(body, 0.3)
    assert not packs(body)
    assert "dropout of attention weights (0.3) in training" in str(packing_refusal(body, "cpu", "float32"))
    assert packs(body.eval())
    assert packing_refusal(body, "cpu", "float32") is None
    set_attention_dropout(body.train(), 0.0)
    assert packs(body)


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch, kernel: packed_module.Kernel | None) -> None:
    for module in (packed_module, packing):
        monkeypatch.setattr(module, "FAST_DEVICES", {"cpu"})
        monkeypatch.setattr(module, "variable_length_kernel", lambda: kernel)


def right(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int, window: Window, scaling: float | None) -> Tensor:
    assert q.dtype == torch.bfloat16
    return attend_by_length(q, k, v, ends.diff().tolist(), window, scaling)


def blind(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int, window: Window, scaling: float | None) -> Tensor:
    return attend_by_length(q, k, v, [len(q)], window, scaling)


def windowless(
    q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int, window: Window, scaling: float | None
) -> Tensor:
    return right(q, k, v, ends, longest, (-1, 0 if window[1] == 0 else -1), scaling)


def one_way(
    q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int, window: Window, scaling: float | None
) -> Tensor:
    return right(q.detach(), k, v, ends, longest, window, scaling) + 0 * q


def missing(*_: Any) -> Tensor:
    raise RuntimeError("no kernel image is available")


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (right, None),
        (blind, "the kernel for variable lengths is off"),
        (windowless, "the kernel for variable lengths is off"),
        (one_way, "the kernel for variable lengths is off"),
        (missing, "no kernel image is available"),
        (None, "no attention for variable lengths"),
    ],
    ids=["right", "blind", "windowless", "without gradient", "missing", "none"],
)
def test_a_gpus_kernel_is_tried_before_it_is_used(
    backbone: Backbone, kernel: packed_module.Kernel | None, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(backbone(Kind()), device=CPU)
    as_on_a_gpu(monkeypatch, kernel)
    refusal = packing_refusal(model, "cpu", "bfloat16")
    assert refusal is None if reason is None else reason in str(refusal)
    assert "half precision, not in float32" in str(packing_refusal(model, "cpu", "float32"))


@pytest.mark.parametrize("size", [12, 264])
def test_heads_that_a_gpus_kernel_lacks_are_refused(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(transformers.LlamaConfig, SHAPE | {"head_dim": size}).eval()
    assert packing_refusal(model, "cpu", "float32") is None
    as_on_a_gpu(monkeypatch, right)
    assert f"attention heads of {size} dimensions" in str(packing_refusal(model, "cpu", "bfloat16"))


def test_loading_packs_where_it_can_and_says_why_not(backbone: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    body = load_model(backbone(Kind()), device=CPU, attention="packed", insist=True)
    assert packs(body)
    assert attention_of(body, "float32") == "packed (sdpa by length)"
    capped = backbone(Kind("gemma2"))
    with caplog.at_level(logging.INFO, logger="genembench"):
        padded = load_model(capped, device=CPU, attention="packed")
    assert not packs(padded)
    assert attention_of(padded, "float32") == "eager"
    assert "soft-capping of attention logits" in caplog.text
    with pytest.raises(Problem, match="Gemma2Model cannot run on packed rows: soft-capping"):
        load_model(capped, device=CPU, attention="packed", insist=True)


def test_what_is_saved_says_nothing_of_packing(backbone: Backbone, tmp_path: Path) -> None:
    load_model(backbone(Kind()), device=CPU, attention="packed").save_pretrained(tmp_path)
    assert "packed" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
    assert not packs(load_model(tmp_path, device=CPU))


def test_the_fastest_attention_by_device_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kernel in (
        ("torch varlen", packed_module._torch_varlen),
        ("flash-attn varlen", packed_module._flash_attn),
    ):
        monkeypatch.setattr(packed_module, "variable_length_kernel", lambda kernel=kernel: kernel)
        assert packed_module.kernel_name("cuda", "bfloat16") == name
        assert packed_module.kernel_name("cuda", "float32") == "sdpa by length"
    for found, wanted in ((right, "packed"), (None, "sdpa")):
        attention_kernel.cache_clear()
        monkeypatch.setattr("methods.parts.packed_attention.variable_length_kernel", lambda found=found: found)
        assert attention_kernel("cuda", "bfloat16") == wanted
        assert attention_kernel("cuda", "float32") == "sdpa"
        assert attention_kernel("cpu", "float32") == "packed"
        assert attention_kernel("cpu", "bfloat16") == "sdpa"
    attention_kernel.cache_clear()
