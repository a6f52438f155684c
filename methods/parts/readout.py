"""Hidden states to vectors: the read-outs ``[B, L, D] -> [B, k, D]`` and the pooling ``[B, k, D] -> [B, D]``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def last(hidden_BLD: Tensor, content_BL: Tensor) -> Tensor:
    """Hidden state of the last content token, ``[B, 1, D]``, wherever the padding stands."""
    check_content(content_BL)
    length = content_BL.shape[1]
    index_B = length - 1 - content_BL.flip(1).to(torch.uint8).argmax(dim=1)
    return hidden_BLD[torch.arange(len(hidden_BLD), device=hidden_BLD.device), index_B].unsqueeze(1)


def mean(hidden_BLD: Tensor, content_BL: Tensor) -> Tensor:
    """Mean over the content tokens in float32, ``[B, 1, D]``."""
    check_content(content_BL)
    # where, not a product: a NaN or an infinity at a padded position must not reach the sum.
    kept_BLD = torch.where(content_BL.unsqueeze(-1), hidden_BLD.float(), 0.0)
    return (kept_BLD.sum(dim=1) / content_BL.sum(dim=1, keepdim=True)).unsqueeze(1)


def weighted_mean(hidden_BLD: Tensor, content_BL: Tensor) -> Tensor:
    """Mean over the content tokens, weighted by place 1 to n, in float32, ``[B, 1, D]`` (arXiv 2202.08904)."""
    check_content(content_BL)
    weight_BL = content_BL.cumsum(dim=1) * content_BL
    kept_BLD = torch.where(content_BL.unsqueeze(-1), hidden_BLD.float(), 0.0)
    return (weight_BL.unsqueeze(-1) * kept_BLD).sum(dim=1, keepdim=True) / weight_BL.sum(dim=1)[:, None, None]


def marked(hidden_BLD: Tensor, content_BL: Tensor) -> Tensor:
    """Hidden states at the content positions, ``[B, k, D]``; every row must mark the same number of positions."""
    counts_B = content_BL.sum(dim=1)
    k = int(counts_B[0])
    if k == 0 or bool((counts_B != k).any()):
        raise ValueError(f"every row must mark the same number of positions (at least 1), got {counts_B.tolist()}")
    return hidden_BLD[content_BL].view(len(hidden_BLD), k, -1)


READOUTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "last": last,
    "mean": mean,
    "weighted_mean": weighted_mean,
    "marked": marked,
}


def normalised_mean(readout_BkD: Tensor) -> Tensor:
    """L2-normalised mean over k, in float32: ``[B, D]`` on the unit sphere."""
    return torch.nn.functional.normalize(readout_BkD.float().mean(dim=1), dim=-1)


def check_content(content_BL: Tensor) -> None:
    """Raise where a row has no content: an empty mask would silently pool nothing, or everything."""
    empty = (~content_BL.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"rows {empty} have no content token to read out")
