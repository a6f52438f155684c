"""Which cross-entropy a head computes by; and Liger's kernel against torch's, where Liger is installed.

Liger's kernels are Triton's and run on a GPU, or on a CPU in Triton's interpreter, which has to be asked for before
Triton is imported: without a GPU the comparisons run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GraniteConfig

from methods.parts import cross_entropy
from methods.parts import head as head_module
from methods.parts.backbone import load_model
from methods.parts.cross_entropy import chosen, computing_by
from methods.parts.head import Head
from tests.conftest import CHECKOUT
from tests.methods.backbones import Kind
from tests.methods.test_head import SCALED, hidden_and_ids

Backbone = Callable[[Kind], Path]

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LIGER = find_spec("liger_kernel") is not None
needs_liger = pytest.mark.skipif(not LIGER, reason="the extra liger is not installed")
runs_here = pytest.mark.skipif(
    not (LIGER and (INTERPRETED or torch.cuda.is_available())), reason="no GPU and no TRITON_INTERPRET=1, or no Liger"
)
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")


class StandIn:
    """Computes plainly and writes down what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], torch.dtype, float | None]] = []

    def __call__(self, logits_NV: Tensor, ids_N: Tensor, softcap: float | None) -> Tensor:
        self.asked.append((tuple(logits_NV.shape), logits_NV.dtype, softcap))
        capped = softcap * torch.tanh(logits_NV / softcap) if softcap else logits_NV
        return -capped.log_softmax(-1)[torch.arange(len(ids_N)), ids_N]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    one = StandIn()
    monkeypatch.setitem(cross_entropy.KERNELS, "liger", one)
    return one


def load(folder: Path, *, trained: bool, device: torch.device | None = None) -> Any:
    model = load_model(folder, device=device or torch.device("cpu"), head=True)
    model.get_output_embeddings().weight.requires_grad_(trained)
    return model


def scored(head: Head, hidden: Tensor, ids: Tensor) -> list[Tensor]:
    """Values, and the gradients of hidden states and weight (nothing where it is frozen) under unequal factors."""
    leaf = hidden.clone().requires_grad_()
    logp = head.token_logp(leaf, ids)
    head.weight.grad = None
    (torch.linspace(-1, 2, len(ids), device=ids.device) * logp).sum().backward()
    found = [logp.detach(), leaf.grad, head.weight.grad]
    return [one.clone() for one in found if one is not None]


# ---------------------------------------------------------------------------------------------------- the choice


def test_torch_is_the_default_and_a_choice_ends_with_its_block() -> None:
    assert chosen() is cross_entropy.by_torch
    with computing_by("liger"):
        assert chosen() is cross_entropy.by_liger
        with computing_by("torch"):
            assert chosen() is cross_entropy.by_torch
        assert chosen() is cross_entropy.by_liger
    assert chosen() is cross_entropy.by_torch


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_a_head_computes_by_what_was_chosen_when_it_was_made(
    architecture: str, trained: bool, backbone: Backbone, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in blocks that the backward pass computes again, where the choice can no longer be looked up."""
    model = load(backbone(Kind(architecture, tied=False, bos="known")), trained=trained)
    vocabulary = model.config.vocab_size
    for name in ("LOGITS_AT_ONCE", "RECOMPUTED_AT_ONCE"):
        monkeypatch.setattr(head_module, name, 4 * vocabulary)
    hidden, ids = hidden_and_ids(model)
    wanted = scored(Head(model), hidden, ids)
    assert not stand_in.asked
    with computing_by("liger"):
        head = Head(model)
    got = scored(head, hidden, ids)
    # Logits come uncapped, in float32, with the cap beside them.
    cap = 1.5 if architecture == "gemma2" else None
    blocks = [((size, vocabulary), torch.float32, cap) for size in (4, 4, 3)]
    assert sorted(stand_in.asked) == sorted(blocks * (2 if trained else 1))
    assert len(got) == len(wanted) == (3 if trained else 2)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------- Liger's kernel


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with Liger's kernel; what the interpreter lacks for soft-capping is stood in for."""
    found = import_module("liger_kernel.ops.cross_entropy")
    if INTERPRETED:
        language, interpreter = import_module("triton.language"), import_module("triton.runtime.interpreter")
        numpy, own = import_module("numpy"), interpreter._implicit_cvt

        def converted(argument: Any) -> Any:
            if not isinstance(argument, float):
                return own(argument)
            number = interpreter.TensorHandle(numpy.array([argument], dtype=numpy.float32), language.float32)
            return language.tensor(number, language.float32)

        monkeypatch.setattr(interpreter, "_implicit_cvt", converted)
        monkeypatch.setattr(found, "tanh", lambda x: 2 * language.sigmoid(2 * x) - 1)
    return found


@runs_here
@pytest.mark.parametrize(("positions", "columns"), [(4, 128), (1000, 32768)], ids=["in parts", "at once"])
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("kind", [Kind("llama", tied=False), Kind("llama"), Kind("gemma2", tied=False)], ids=str)
def test_liger_gives_what_torch_gives(
    kind: Kind,
    trained: bool,
    positions: int,
    columns: int,
    backbone: Backbone,
    kernel: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values and gradients, in blocks of positions and of the vocabulary, soft-capped (Gemma 2) or not."""
    monkeypatch.setattr(kernel, "MAX_FUSED_SIZE", columns)
    model = load(backbone(kind), trained=trained, device=DEVICE)
    for name in ("LOGITS_AT_ONCE", "RECOMPUTED_AT_ONCE"):
        monkeypatch.setattr(head_module, name, positions * model.config.vocab_size + 1)
    hidden, ids = (tensor.to(DEVICE) for tensor in hidden_and_ids(model))
    wanted = scored(Head(model), hidden, ids)
    with computing_by("liger"):
        head = Head(model)
    got = scored(head, hidden, ids)
    assert len(got) == len(wanted) == (3 if trained else 2)
    for one, other in zip(got, wanted, strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(head.token_logp(hidden, ids), wanted[0], atol=1e-5, rtol=1e-5)
    nothing = hidden[:0].clone().requires_grad_()
    assert head.token_logp(nothing, ids[:0]).shape == (0,)


@runs_here
def test_liger_sees_scaled_logits_in_float32(kernel: Any) -> None:
    """Granite's scale, and weights in bfloat16 as a frozen decoder's are on a GPU: log-probabilities stay float32."""
    torch.manual_seed(0)
    config: Any = GraniteConfig(**SCALED, logits_scaling=4.0)
    model: Any = AutoModelForCausalLM.from_config(config).eval().to(DEVICE)
    for one in (model.requires_grad_(False), model.bfloat16()):
        hidden, ids = (tensor.to(DEVICE) for tensor in hidden_and_ids(one))
        hidden = hidden.to(one.dtype)
        wanted = scored(Head(one), hidden, ids)
        with computing_by("liger"):
            got = scored(Head(one), hidden, ids)
        assert got[0].dtype == torch.float32
        assert got[1].dtype == one.dtype
        torch.testing.assert_close(got[0], wanted[0], atol=1e-5, rtol=1e-5)
        # Both sides round the same float32 gradient of the logits to bfloat16; a last bit may differ.
        torch.testing.assert_close(got[1], wanted[1], atol=1e-5, rtol=1e-5 if one.dtype == torch.float32 else 1e-2)


@needs_liger
@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="the comparisons run in this process")
def test_liger_in_tritons_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "test_liger"]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 passed" in done.stdout
