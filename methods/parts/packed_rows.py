"""Rows laid end to end as ``[1, T]``: which bodies take them, and what a body is told of where each row begins.

Apart from the attention itself (`methods.parts.packed_attention`), because who only sends rows through a body, or reads
about methods, need not wait for transformers to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import nn

NAME = "packed"
"""What transformers knows this attention by."""


def packs(body: nn.Module) -> bool:
    """Whether ``body``, as it stands, takes packed rows: it was loaded so, and its attention drops nothing now."""
    config: Any = getattr(body, "config", None)
    return getattr(config, "_attn_implementation", None) == NAME and not (body.training and attention_dropout(body))


def attention_dropout(model: nn.Module) -> float:
    """Probability with which attention weights are dropped in training, the largest of all layers."""
    found = [0.0]
    for module in model.modules():
        # The two ways of `dropout.set_attention_dropout`.
        given = getattr(module, "attention_dropout", None)
        given = getattr(getattr(module, "attn_dropout", None), "p", None) if given is None else given
        found += [float(given)] if isinstance(given, float | int) else []
    return max(found)


def laid_end_to_end(lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """Arguments that tell a body how many tokens each row of a packed pass has: positions, boundaries and no mask.

    The mask is one that transformers takes as finished, so that it builds none: it would be ``[T, T]``.
    """
    ends = torch.tensor([0, *accumulate(lengths)])
    positions_T = torch.arange(int(ends[-1])) - ends[:-1].repeat_interleave(ends.diff())
    ends = ends.to(device, torch.int32)
    return {
        "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),
        "position_ids": positions_T[None].to(device),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
