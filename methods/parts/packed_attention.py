"""Attention over packed rows: rows of any lengths laid end to end as ``[1, T]``, each attending to itself alone.

Registered with transformers under the name ``packed``, together with a mask builder: an attention function without one
gets no masks, and then padding is attended to. Where a call says where rows begin and end (`laid_end_to_end`), a kernel
for variable lengths runs and there are no masks at all; any other call is ``sdpa`` with sdpa's masks.

The boundaries travel as arguments of the call (transformers' own ``cu_seq_lens_q`` and so on), because layers that are
computed again in the backward pass are called again with the arguments that they had.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils.import_utils import is_flash_attn_2_available

from methods.parts.packed_rows import NAME

FAST_DEVICES = {"cuda"}
"""Devices that have kernels for variable lengths, in half precision."""
HALF = (torch.bfloat16, torch.float16)
LARGEST_HEAD = 256
UNSUPPORTED = {
    "softcap": "soft-capping of attention logits",
    "s_aux": "attention sinks",
    "position_bias": "a position bias",
    "cache": "a cache",
}
"""Arguments that change attention, and what they are; the kernels here know none of them."""

Window = tuple[int, int]
"""Tokens that are seen on the left and on the right, -1 for all."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend within each row, by the interface of transformers' attention functions.

    Args:
        module: The attention module; its ``is_causal`` counts where nothing was handed on.
        query: ``[1, H, T, d]`` packed, else ``[B, H, L, d]``.
        key: ``[1, K, T, d]`` packed, with K dividing H.
        value: ``[1, K, T, e]`` packed.
        attention_mask: Of ordinary calls; packed ones have none that means anything.
        dropout: Of attention weights; 0 in packed calls.
        scaling: Factor of the scores, None for 1 / sqrt(d).
        is_causal: Whether a token sees only what stands before it.
        sliding_window: Causal: tokens that are seen, itself included. Bidirectional: tokens on either side.
        cu_seq_lens_q: Where rows begin and the last one ends ``[N + 1]``, int32; None in ordinary calls.
        max_length_q: Tokens of the longest row.
        others: What else transformers hands on.

    Returns:
        ``[1, T, H, e]`` (ordinary calls: ``[B, L, H, e]``), and None for the weights.

    Raises:
        ValueError: something is asked for that the kernels lack, or the boundaries of a packed pass were lost.
    """
    if cu_seq_lens_q is None:
        if attention_mask is not None and attention_mask.shape == (1, 1, 1, 1) and query.shape[2] > 1:
            raise ValueError("the boundaries of packed rows do not reach its attention")
        result, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **others
        )
        return result, None
    asked = ["dropout of attention weights"] if dropout else []
    asked += [what for name, what in UNSUPPORTED.items() if others.get(name) is not None]
    if asked:
        raise ValueError(f"packed attention has no {', '.join(asked)}")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    # A window of one row's own tokens: causal ones count the token itself.
    back = -1 if sliding_window is None else sliding_window - causal
    window = (back, 0 if causal else back)
    q_THd, k_TKd, v_TKe = (each[0].transpose(0, 1) for each in (query, key, value))
    if query.device.type in FAST_DEVICES and (half := _half_precision(query)) and (kernel := variable_length_kernel()):
        longest = int(max_length_q or cu_seq_lens_q.diff().max())
        # Autocast leaves float32 what rotary positions made float32, and knows nothing of these kernels.
        q_THd, k_TKd, v_TKe = (each.to(half) for each in (q_THd, k_TKd, v_TKe))
        return kernel(q_THd, k_TKd, v_TKe, cu_seq_lens_q, longest, window, scaling)[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    return attend_by_length(q_THd, k_TKd, v_TKe, lengths, window, scaling)[None], None


def attend_by_length(
    q_THd: Tensor, k_TKd: Tensor, v_TKe: Tensor, lengths: Sequence[int], window: Window, scaling: float | None
) -> Tensor:
    """Attention on any device and in any precision: rows of equal length that stand together are one call of sdpa.

    Nothing is padded, copied or masked (but for windows shorter than a row). Rows in order of their lengths make few
    calls; any other order gives the same numbers.

    Returns:
        ``[T, H, e]``.
    """
    runs = [(length, sum(1 for _ in rows)) for length, rows in groupby(lengths)]
    sizes = [length * count for length, count in runs]
    pieces = []
    # One split rather than slices: the backward pass of a slice fills a whole tensor with zeros.
    for (length, count), *parts in zip(runs, *(each.split(sizes) for each in (q_THd, k_TKd, v_TKe)), strict=True):
        q_bHLd, k_bKLd, v_bKLe = (part.unflatten(0, (count, length)).transpose(1, 2) for part in parts)
        within = max(window) >= length - 1 or window in ((-1, 0), (-1, -1))
        attended_bHLe = nn.functional.scaled_dot_product_attention(
            q_bHLd,
            k_bKLd,
            v_bKLe,
            attn_mask=None if within else _band(length, window, q_THd.device),
            is_causal=within and window[1] == 0 and length > 1,
            scale=scaling,
            enable_gqa=q_bHLd.shape[1] != k_bKLd.shape[1],
        )
        pieces.append(attended_bHLe.transpose(1, 2).flatten(0, 1))
    return torch.cat(pieces)


def _band(length: int, window: Window, device: torch.device) -> Tensor:
    place_L = torch.arange(length, device=device)
    back_LL = place_L[:, None] - place_L[None, :]
    return (back_LL <= window[0]) & (-back_LL <= window[1])


def _half_precision(query: Tensor) -> torch.dtype | None:
    """Return the half precision that attention is to be computed in, None for full precision."""
    if query.dtype in HALF:
        return query.dtype
    kind = query.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, int, Window, float | None], Tensor]
"""``(q [T, H, d], k [T, K, d], v [T, K, d], ends [N + 1], longest, window, scaling) -> [T, H, d]``"""


def variable_length_kernel() -> Kernel | None:
    """Return the kernel for GPUs: flash-attn's where installed, else torch's own, None where that is too old."""
    if is_flash_attn_2_available():
        return _flash_attn
    return _torch_varlen if _torch_has_varlen() else None


def kernel_name(device_type: str, precision: str) -> str:
    """Name what packed attention runs on a device in ``float32`` or ``bfloat16``, for the record."""
    fast = device_type in FAST_DEVICES and getattr(torch, precision, None) in HALF
    if not fast or (kernel := variable_length_kernel()) is None:
        return "sdpa by length"
    return "flash-attn varlen" if kernel is _flash_attn else "torch varlen"


@cache
def _torch_has_varlen() -> bool:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    # Its first versions had neither windows nor fewer heads for keys.
    return {"window_size", "enable_gqa", "scale"} <= inspect.signature(varlen_attn).parameters.keys()


def _torch_varlen(
    q_THd: Tensor, k_TKd: Tensor, v_TKd: Tensor, ends: Tensor, longest: int, window: Window, scaling: float | None
) -> Tensor:
    from torch.nn.attention import varlen

    result = varlen.varlen_attn(
        q_THd,
        k_TKd,
        v_TKd,
        ends,
        ends,
        longest,
        longest,
        scale=scaling,
        window_size=window,
        enable_gqa=q_THd.shape[1] != k_TKd.shape[1],
    )
    assert isinstance(result, Tensor)  # the statistics beside it were not asked for
    return result


def _flash_attn(
    q_THd: Tensor, k_TKd: Tensor, v_TKd: Tensor, ends: Tensor, longest: int, window: Window, scaling: float | None
) -> Tensor:
    import flash_attn

    result: Tensor = flash_attn.flash_attn_varlen_func(
        q_THd,
        k_TKd,
        v_TKd,
        ends,
        ends,
        longest,
        longest,
        softmax_scale=scaling,
        causal=window[1] == 0,
        window_size=window,
    )
    return result


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
