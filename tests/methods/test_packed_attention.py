"""Packed rows: the numbers of padded ones without padding, and each row as if it were alone."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from methods.parts import packed_attention as packed_module
from methods.parts.adapt import LoraShape, trainable
from methods.parts.backbone import load_model
from methods.parts.forward import passes
from methods.parts.packed_attention import attend_by_length, packed_attention
from methods.parts.packed_rows import laid_end_to_end, packs
from methods.parts.tokens import TokenRow, pad
from tests.methods.backbones import CONFIGURATIONS, Kind

CPU = torch.device("cpu")
FAMILIES = [name for name in CONFIGURATIONS if name != "gemma2"]
"""Gemma 2 caps its logits."""
LENGTHS = (3, 20, 11, 1, 11)
"""Longer than twice the windows of 8 tokens; out of order, two alike, and one token alone."""
Backbone = Callable[[Kind], Path]
DIRECTIONS = pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])


def rows(*lengths: int) -> list[TokenRow]:
    return [TokenRow([3 + (7 * i + 11 * k) % 300 for i in range(n)], [True] * n) for k, n in enumerate(lengths)]


def alone(body: Any, row: TokenRow) -> Tensor:
    hidden_LD: Tensor = body(input_ids=torch.tensor([row.ids]), use_cache=False).last_hidden_state[0]
    return hidden_LD


def packed(body: Any, some: list[TokenRow], max_tokens: int | None = None) -> list[Tensor]:
    """Return the hidden states of each row from packed passes."""
    assert packs(body)
    found: dict[int, Tensor] = {}
    for one in passes(body, some, max_tokens=max_tokens):
        found |= dict(
            zip(one.rows, (h[c] for h, c in zip(one.hidden_BLD, one.batch.content_BL, strict=True)), strict=True)
        )
    return [found[i] for i in range(len(some))]


def gradients(body: Any, states: list[Tensor]) -> dict[str, Tensor]:
    """Gradients of a loss in which every number counts differently, by the names of weights."""
    body.zero_grad()
    sum(
        (h * torch.linspace(-1, 2, h.numel(), device=h.device).view(h.shape)).sum() * (i + 1)
        for i, h in enumerate(states)
    ).backward()  # type: ignore[union-attr]
    return {name: weight.grad.clone() for name, weight in body.named_parameters() if weight.grad is not None}


def compare(ours: Any, theirs: Any, some: list[TokenRow]) -> None:
    """Compare packed rows of one body with each row alone in another: hidden states and every gradient."""
    got, wanted = packed(ours, some), [alone(theirs, row) for row in some]
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    found, expected = gradients(ours, got), gradients(theirs, wanted)
    assert found.keys() == expected.keys()
    assert len(found) > 2
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5 * float(value.abs().max() + 1), msg=name)


@DIRECTIONS
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_gradients_are_those_of_each_row_alone(backbone: Backbone, family: str, causal: bool) -> None:
    folder = backbone(Kind(family))
    ours, theirs = (load_model(folder, device=CPU, causal=causal, attention=name) for name in ("packed", "sdpa"))
    compare(ours, theirs, rows(*LENGTHS))


@DIRECTIONS
@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_so_they_are_where_activations_are_recomputed_and_adapters_trained(
    backbone: Backbone, family: str, causal: bool
) -> None:
    bodies = []
    for name in ("packed", "sdpa"):
        body: Any = load_model(backbone(Kind(family)), device=CPU, causal=causal, attention=name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            body = trainable(body, "lora", LoraShape(rank=4, alpha=8, dropout=0.0))
        # An adapter begins as zero, and half of its gradients with it.
        with torch.no_grad():
            for number, weight in enumerate(w for w in body.parameters() if w.requires_grad):
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
        bodies.append(body)
    ours, theirs = bodies
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    ours.enable_input_require_grads()
    ours.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    layer = ours.base_model.model.h[0].mlp if family == "gpt2" else ours.base_model.model.layers[0].mlp
    layer.register_forward_pre_hook(count)
    compare(ours, theirs, rows(*LENGTHS))
    # One for the FLOPs' shapes, one pass, and once more for its backward pass.
    assert calls == 3


@DIRECTIONS
@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_padded_calls_have_their_masks(
    backbone: Backbone, family: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is registered without a mask builder gets none: that this test can see it is tested too."""
    body = load_model(backbone(Kind(family)), device=CPU, causal=causal, attention="packed")
    some = rows(20, 11, 3)
    plain = load_model(backbone(Kind(family)), device=CPU, causal=causal)

    def off(side: str) -> float:
        batch = pad(some, CPU, side=side)
        with torch.no_grad():
            hidden_BLD = body(
                input_ids=batch.ids_BL, attention_mask=batch.mask_BL, position_ids=batch.positions_BL, use_cache=False
            ).last_hidden_state
            own = [h[c] for h, c in zip(hidden_BLD, batch.content_BL, strict=True)]
            return max(float((a - alone(plain, row)).abs().max()) for a, row in zip(own, some, strict=True))

    assert max(off("left"), off("right")) < 1e-4
    AttentionInterface.register("maskless", sdpa_attention_forward)
    body.set_attn_implementation("maskless")
    assert max(off("left"), off("right")) > 1e-2


@DIRECTIONS
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3"])
def test_nothing_as_large_as_all_tokens_squared_is_ever_made(backbone: Backbone, family: str, causal: bool) -> None:
    body = load_model(backbone(Kind(family)), device=CPU, causal=causal, attention="packed").requires_grad_(False)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for each in result if isinstance(result, tuple | list) else [result]:
                largest = max(largest, each.numel() if isinstance(each, Tensor) else 0)
            return result

    some = rows(*[15] * 60)
    list(passes(body, some))  # what is counted once may be as large as it likes
    watch: Any = Watch
    with watch():
        list(passes(body, some))
    tokens = 15 * 60
    assert tokens * 32 <= largest <= tokens * 100


@DIRECTIONS
def test_a_row_notices_neither_its_neighbours_nor_their_number(backbone: Backbone, causal: bool) -> None:
    body = load_model(backbone(Kind("qwen3")), device=CPU, causal=causal, attention="packed")
    row, *others = rows(11, 20, 11, 5, 5, 2)
    with torch.no_grad():
        wanted = packed(body, [row])[0]
        for company in (others, others[::-1], others[2:4] * 3, rows(4, 11)[1:]):
            torch.testing.assert_close(packed(body, [row, *company])[0], wanted, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(packed(body, [row, *company], max_tokens=16)[0], wanted, rtol=1e-5, atol=1e-6)


def by_loops(q: Tensor, k: Tensor, v: Tensor, ends: list[int], window: tuple[int, int], scale: float | None) -> Tensor:
    """Attention by its definition, one query of one head after the other, in float64."""
    result = torch.zeros(len(q), q.shape[1], v.shape[2], dtype=torch.float64)
    shared = q.shape[1] // k.shape[1]
    for begin, end in itertools.pairwise(ends):
        for i in range(begin, end):
            first = begin if window[0] < 0 else max(begin, i - window[0])
            last = end if window[1] < 0 else min(end, i + window[1] + 1)
            for h in range(q.shape[1]):
                keys, values = (each[first:last, h // shared].double() for each in (k, v))
                scores = keys @ q[i, h].double() * (q.shape[2] ** -0.5 if scale is None else scale)
                result[i, h] = scores.softmax(0) @ values
    return result


@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (2, 0), (2, 2), (0, 0), (30, 0), (30, 30), (5, 0), (5, 5)])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_the_kernel_for_every_device_is_attention_by_its_definition(
    window: tuple[int, int], scale: float | None
) -> None:
    lengths = [6, 6, 1, 4, 6]
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(23, heads, size, generator=draw) for heads, size in ((4, 8), (2, 8), (2, 5)))
    wanted = by_loops(q, k, v, [0, 6, 12, 13, 17, 23], window, scale)
    got = attend_by_length(q, k, v, lengths, window, scale)
    torch.testing.assert_close(got, wanted.float(), rtol=1e-5, atol=1e-5)


class Recorded:
    """A kernel for variable lengths that looks at what it is given and computes by loops.

    It takes the arguments that torch's own takes, or flash-attn's by its documentation.
    """

    __signature__ = inspect.signature(varlen.varlen_attn)

    def __init__(self) -> None:
        self.windows: set[tuple[int, int]] = set()
        self.scales: set[float | None] = set()
        self.lengths: list[list[int]] = []

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, ends_q: Tensor, ends_k: Tensor, max_q: int, max_k: int, **given: Any
    ) -> Tensor:
        assert q.dtype == k.dtype == v.dtype == torch.bfloat16
        assert k.shape == v.shape
        assert q.ndim == k.ndim == 3
        assert (q.shape[0], q.shape[2]) == (k.shape[0], k.shape[2])
        assert q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
        assert ends_q is ends_k
        assert ends_q.dtype == torch.int32
        ends = ends_q.tolist()
        assert (ends[0], ends[-1]) == (0, len(q))
        own = [b - a for a, b in itertools.pairwise(ends)]
        assert type(max_q) is type(max_k) is int
        assert max_q == max_k == max(own)
        self.lengths.append(own)
        self.windows.add(given["window_size"])
        scale = given["softmax_scale"] if "softmax_scale" in given else given["scale"]
        self.scales.add(scale)
        if "causal" in given:
            assert given.keys() == {"softmax_scale", "causal", "window_size"}
            assert given["causal"] is (given["window_size"][1] == 0)
        else:
            self.__signature__.bind(q, k, v, ends_q, ends_k, max_q, max_k, **given)
            assert given["enable_gqa"] is (q.shape[1] != k.shape[1])
        return by_loops(q, k, v, ends, given["window_size"], scale).to(q.dtype)


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch, library: str) -> Recorded:
    """Make the CPU one of the devices with kernels for variable lengths, and take down what they are handed."""
    recorded = Recorded()
    monkeypatch.setattr(packed_module, "FAST_DEVICES", {"cuda", "cpu"})
    monkeypatch.setattr(packed_module, "is_flash_attn_2_available", lambda: library == "flash-attn")
    if library == "flash-attn":
        monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_varlen_func=recorded))
    else:
        monkeypatch.setattr(varlen, "varlen_attn", recorded)
    return recorded


WINDOWS: dict[tuple[str, bool], set[tuple[int, int]]] = {
    ("llama", True): {(-1, 0)},
    ("llama", False): {(-1, -1)},
    ("mistral", True): {(7, 0)},
    ("mistral", False): {(8, 8)},
    ("gemma3", True): {(7, 0), (-1, 0)},
    ("gemma3", False): {(8, 8), (-1, -1)},
}


@pytest.mark.parametrize("library", ["flash-attn", "torch"])
@pytest.mark.parametrize(("family", "causal"), WINDOWS)
def test_what_a_gpu_kernel_is_handed(
    backbone: Backbone, family: str, causal: bool, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = load_model(backbone(Kind(family)), device=CPU, causal=causal, attention="packed")
    plain = load_model(backbone(Kind(family)), device=CPU, causal=causal)
    some = rows(*LENGTHS)
    # Not by `passes`: its analytic FLOPs are counted in a pass of its own.
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = [alone(plain, row) for row in some]
        recorded = as_on_a_gpu(monkeypatch, library)
        got = packed(body, some)
    assert recorded.windows == WINDOWS[family, causal]
    assert recorded.lengths == [[20, 11, 11, 3, 1]] * 2
    assert recorded.scales == {8**-0.5}
    for a, b in zip(got, wanted, strict=True):
        assert (a.float() - b.float()).norm() < 0.03 * b.float().norm()


def test_full_precision_does_not_go_to_a_kernel_for_half_of_it(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = load_model(backbone(Kind()), device=CPU, attention="packed")
    recorded = as_on_a_gpu(monkeypatch, "torch")
    with torch.no_grad():
        (got,) = packed(body, rows(7))
        assert not recorded.lengths
        half = packed(body.bfloat16(), rows(7))[0]
    assert recorded.lengths == [[7], [7]]
    assert (half.float() - got).norm() < 0.05 * got.norm()


def test_positions_and_boundaries_begin_anew_with_every_row() -> None:
    told = laid_end_to_end([3, 1, 2], CPU)
    assert told["position_ids"].tolist() == [[0, 1, 2, 0, 0, 1]]
    assert told["cu_seq_lens_q"].tolist() == told["cu_seq_lens_k"].tolist() == [0, 3, 4, 6]
    assert told["max_length_q"] == told["max_length_k"] == 3


def test_what_the_kernels_lack_is_never_left_out_silently() -> None:
    query = torch.ones(1, 2, 3, 8)
    told = laid_end_to_end([2, 1], CPU)
    call: Any = packed_attention
    module = torch.nn.Module()
    for given, what in (
        ({"dropout": 0.1}, "dropout"),
        ({"softcap": 50.0}, "soft-capping"),
        ({"s_aux": torch.ones(2)}, "sinks"),
        ({"position_bias": torch.ones(1, 2, 3, 3)}, "position bias"),
    ):
        with pytest.raises(ValueError, match=what):
            call(module, query, query, query, **told, **given)
    with pytest.raises(ValueError, match="do not reach its attention"):
        call(module, query, query, query, told["attention_mask"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@DIRECTIONS
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3", "gpt2"])
def test_on_a_gpu_in_half_precision(backbone: Backbone, family: str, causal: bool) -> None:
    device = torch.device("cuda")
    kind = Kind(family)
    models: list[Any] = [
        load_model(backbone(kind), device=device, causal=causal, attention=name) for name in ("packed", "sdpa")
    ]
    ours, theirs = models
    some = rows(*LENGTHS)
    with torch.autocast("cuda", torch.bfloat16):
        got = packed(ours, some)
        wanted = [theirs(input_ids=torch.tensor([r.ids], device=device)).last_hidden_state[0] for r in some]
    for a, b in zip(got, wanted, strict=True):
        assert (a.float() - b.float()).norm() < 0.03 * b.float().norm()
    found = gradients(ours, got)
    for name, gradient in gradients(theirs, wanted).items():
        assert (found[name] - gradient).norm() < 0.05 * gradient.norm(), name
