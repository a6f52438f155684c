"""Documents of a batch: flat, query after query, or as ``[B, G]`` with a mask where a query has fewer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def present(group: Sequence[int], slots: int, device: torch.device) -> Tensor:
    """Which of ``slots`` documents each query has: ``[B, G]``, True for the first ``group[i]`` of row i."""
    return torch.arange(slots, device=device) < torch.tensor(group, device=device).unsqueeze(1)


def padded(flat_M: Tensor, present_BG: Tensor) -> Tensor:
    """Lay flat values ``[M, ...]`` out as ``[B, G, ...]``; absent documents are 0."""
    dense = flat_M.new_zeros(*present_BG.shape, *flat_M.shape[1:])
    return dense.masked_scatter(present_BG.reshape(*present_BG.shape, *[1] * (flat_M.ndim - 1)), flat_M)
