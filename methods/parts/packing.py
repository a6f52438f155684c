"""Whether a body takes packed rows: declared facts first, then two rows that must not notice each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from methods.parts.modes import evaluating
from methods.parts.packed_attention import (
    FAST_DEVICES,
    HALF,
    LARGEST_HEAD,
    Kernel,
    attend_by_length,
    variable_length_kernel,
)
from methods.parts.packed_rows import NAME, attention_dropout, laid_end_to_end

LENGTHS = (5, 3)
"""Tokens of the two rows of the probe."""
ALLOWED = 2e-3
"""Largest difference of a hidden state, against its length: float32 rounds to 1e-6, TF32 to 5e-4; neighbours change
more than 1e-1."""
KERNEL_ALLOWED = 0.05
"""The same of a kernel in half precision, which rounds to 4e-3."""
WITNESS = "packed-witness"

Heads = tuple[int, int, int, int]
"""Of one layer: heads of queries, heads of keys, dimensions of a query's and of a value's."""


def packing_refusal(model: PreTrainedModel, device_type: str, precision: str) -> str | None:
    """Say why packed rows cannot go through ``model``, None if they can.

    Modes, random numbers and the model's attention are left as they were. It may be asked again: of a model in training
    mode the dropout that it has now counts too.

    Args:
        model: A body, or a language model with its head, in float32.
        device_type: ``cpu`` or ``cuda``, where it is going to run.
        precision: ``float32`` or ``bfloat16``, in which it is going to run.
    """
    declared = _declared(model, device_type, precision)
    if declared is not None:
        return declared
    before = model.config._attn_implementation
    try:
        heads = _heads(model)
        if isinstance(heads, str):
            return heads
        if device_type in FAST_DEVICES:
            refusals = (_kernel_refusal(each, device_type) for each in sorted(set(heads)))
            if (refusal := next(filter(None, refusals), None)) is not None:
                return refusal
        return _notices(model, before)
    except (ArithmeticError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError) as error:
        lines = str(error).strip().splitlines()
        return f"it fails on packed rows: {type(error).__name__}: {lines[0] if lines else ''}"
    finally:
        model.set_attn_implementation(before)


def _declared(model: PreTrainedModel, device_type: str, precision: str) -> str | None:
    """Say what configuration, classes and machine speak against."""
    config: Any = model.config.get_text_config()
    if not model._can_set_attn_implementation():
        return "its attention does not go through transformers' attention interface"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "soft-capping of attention logits"
    if any(name.endswith("sinks") for name, _ in model.named_parameters()):
        return "attention sinks"
    if model.training and (dropout := attention_dropout(model)):
        return f"dropout of attention weights ({dropout:g}) in training"
    if device_type in FAST_DEVICES:
        if getattr(torch, precision, None) not in HALF:
            return f"the kernels for variable lengths on a GPU compute in half precision, not in {precision}"
        if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0):
            return "the GPU is older than those that the kernels for variable lengths run on (Ampere)"
        if variable_length_kernel() is None:
            return f"flash-attn is not installed, and torch {torch.__version__} has no attention for variable lengths"
    return None


def _kernel_refusal(heads: Heads, device_type: str) -> str | None:
    """Try the kernel for variable lengths on such heads, forward and backward, where the device is here."""
    size, value_size = heads[2:]
    if size != value_size or size % 8 or size > LARGEST_HEAD:
        return (
            f"attention heads of {size} dimensions with values of {value_size}; the kernels for variable lengths take "
            f"multiples of 8 up to {LARGEST_HEAD}, the same for both"
        )
    kernel = variable_length_kernel()
    if kernel is None or (device_type == "cuda" and not torch.cuda.is_available()):
        return None
    for window in ((-1, 0), (-1, -1), (1, 0), (1, 1)):
        off = _kernel_error(kernel, heads, window, torch.device(device_type))
        # Not "greater than": no number is no agreement either.
        if not off <= KERNEL_ALLOWED:
            return f"the kernel for variable lengths is off by {off:.1g} on this device"
    return None


def _kernel_error(kernel: Kernel, heads: Heads, window: tuple[int, int], device: torch.device) -> float:
    """Largest error of a kernel's result and of its gradients, in bfloat16."""
    query_heads, key_heads, size, _ = heads
    draw = torch.Generator().manual_seed(0)
    shapes = [(sum(LENGTHS), count, size) for count in (query_heads, key_heads, key_heads)]
    drawn = [torch.randn(shape, generator=draw).to(device, torch.bfloat16) for shape in shapes]
    ends = laid_end_to_end(LENGTHS, device)["cu_seq_lens_q"]
    with torch.inference_mode(False), torch.enable_grad():
        q, k, v = ours = [each.clone().requires_grad_() for each in drawn]
        result = kernel(q, k, v, ends, max(LENGTHS), window, None)
        gradients = torch.autograd.grad(result.float().square().sum(), ours)
        q, k, v = exact = [each.float().requires_grad_() for each in drawn]
        wanted = attend_by_length(q, k, v, LENGTHS, window, None)
        wanted_gradients = torch.autograd.grad(wanted.square().sum(), exact)
    pairs = zip((result, *gradients), (wanted, *wanted_gradients), strict=True)
    return _largest_difference([(one.float().flatten(), other.flatten()) for one, other in pairs])


def _largest_difference(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Largest difference of two vectors ``[..., X]``, against the length of the second."""
    off = [((one - other).norm(dim=-1) / other.norm(dim=-1).clamp(min=1e-9)).max() for one, other in pairs]
    return torch.stack(off).max().item()


@dataclass
class _Witness:
    """What masks were made, and what each attention layer was handed."""

    masks: list[tuple[Tensor, int | None]] = field(default_factory=list)
    patterns: bool = False
    windows: list[tuple[int | None, int | None]] = field(default_factory=list)
    """By the mask, and by the arguments."""
    heads: list[Heads] = field(default_factory=list)

    def build(self, *, local_size: int | None = None, use_vmap: bool = False, **asked: Any) -> Tensor | None:
        self.patterns |= use_vmap
        mask = sdpa_mask(local_size=local_size, use_vmap=use_vmap, **asked)
        if mask is not None:
            self.masks.append((mask, local_size))
        return mask

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **given: Any
    ) -> tuple[Tensor, None]:
        told = [window for each, window in self.masks if each is mask]
        self.windows += [(window, given.get("sliding_window")) for window in told]
        self.heads.append((query.shape[1], key.shape[1], query.shape[-1], value.shape[-1]))
        result, _ = sdpa_attention_forward(module, query, key, value, mask, **given)
        return result, None


def _heads(model: PreTrainedModel) -> list[Heads] | str:
    """Return every layer's heads, or the reason against: a layer's attention is not told all that its mask says.

    Packed rows have no masks, so windows come from arguments. A probe of a few tokens would not miss a window of 4096.
    """
    witness = _Witness()
    AttentionInterface.register(WITNESS, witness.attend)
    AttentionMaskInterface.register(WITNESS, witness.build)
    ids_BL = torch.stack([torch.nn.functional.pad(row, (0, 1 + LENGTHS[0] - len(row))) for row in _rows(model)])
    mask_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device) < torch.tensor(LENGTHS, device=ids_BL.device)[:, None]
    with _running(model, WITNESS) as body:
        body(input_ids=ids_BL, attention_mask=mask_BL.long(), use_cache=False)
    # transformers keeps what was registered.
    witness.masks.clear()
    layers = model.config.get_text_config().num_hidden_layers
    if len(witness.heads) < layers:
        return f"{layers - len(witness.heads)} of {layers} layers do not attend through transformers' interface"
    if witness.patterns:
        return "its masks have a pattern of their own"
    if len(witness.windows) < len(witness.heads):
        return "its layers change the masks that they are given"
    for by_mask, by_argument in witness.windows:
        if by_mask != by_argument:
            return f"a layer's mask has a window of {by_mask} tokens, and its attention is told {by_argument}"
    return witness.heads


def _notices(model: PreTrainedModel, before: str) -> str | None:
    """Compare two rows packed with each alone."""
    rows = _rows(model)
    device = rows[0].device
    with _running(model, before) as body:
        alone_TD = torch.cat([body(input_ids=row[None], use_cache=False)[0][0] for row in rows]).float()
    with _running(model, NAME) as body:
        ids_T = torch.cat(rows)
        together_TD = body(input_ids=ids_T[None], use_cache=False, **laid_end_to_end(LENGTHS, device))[0][0].float()
    off = _largest_difference([(together_TD, alone_TD)])
    # Not "greater than": no number is no agreement either.
    return None if off <= ALLOWED else f"packed rows differ from the same rows alone by {off:.1g}"


@contextmanager
def _running(model: PreTrainedModel, kernel: str) -> Iterator[Any]:
    model.set_attn_implementation(kernel)
    with evaluating(model):
        yield model.base_model


def _rows(model: PreTrainedModel) -> list[Tensor]:
    """Return two rows of tokens from all over the vocabulary; its first ones are often reserved and untrained."""
    embeddings: Any = model.get_input_embeddings()
    count = sum(LENGTHS)
    spread = [embeddings.num_embeddings * i // (count + 1) for i in range(1, count + 1)]
    device = next(model.parameters()).device
    return list(torch.tensor(spread, device=device).split(LENGTHS))
