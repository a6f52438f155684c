"""Watching an encoder while it trains: alignment and uniformity on held-out triplets.

Wang and Isola 2020, arXiv 2005.10242, eq. 1 and 2, with their usual exponents: alignment is the mean squared distance
of query and positive (lower is closer), uniformity the logarithm of the mean of exp(-2 d²) over all pairs of different
texts (lower is more spread out). The share of triplets whose positive is closer than the negative stands beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from methods.contract import Example, Method
from methods.parts.forward import run_body
from methods.parts.ledger import charging
from methods.parts.modes import evaluating
from methods.parts.observe import observing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUARTERS = 4


def watch_points(steps: int) -> frozenset[int]:
    """Steps after which to look: the first, and the end of each quarter."""
    return frozenset({1, *(round(steps * i / QUARTERS) for i in range(1, QUARTERS + 1))} - {0})


def watched(
    method: Method, body: nn.Module, tokenizer: PreTrainedTokenizerBase, triplets: Sequence[Example], precision: str
) -> dict[str, float]:
    """Encode the triplets as evaluation would, with the weights as they stand, and measure."""
    sides = {
        "query": [row["query"] for row in triplets],
        "document": [text for row in triplets for text in (row["positive"], row["negative"][0])],
    }
    device = next(body.parameters()).device
    vectors = {}
    with evaluating(body), charging(None), observing(None):
        for role, texts in sides.items():
            rows = method.tokenize(tokenizer, texts, role, "evaluate")  # type: ignore[arg-type]  # both are roles
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                vectors[role] = method.pool(run_body(body, rows, method.readout))
    query_BD, documents_BGD = vectors["query"], vectors["document"].unflatten(0, (len(triplets), 2))
    return measure(query_BD, documents_BGD[:, 0], documents_BGD[:, 1])


def measure(query_BD: Tensor, positive_BD: Tensor, negative_BD: Tensor) -> dict[str, float]:
    """Alignment, uniformity and triplet accuracy of vectors, which are normalised first."""
    query_BD, positive_BD, negative_BD = (
        torch.nn.functional.normalize(one.float(), dim=-1) for one in (query_BD, positive_BD, negative_BD)
    )
    near_B = (query_BD - positive_BD).square().sum(-1)
    far_B = (query_BD - negative_BD).square().sum(-1)
    distances_P = torch.pdist(torch.cat([query_BD, positive_BD])).square()
    return {
        "held_out/alignment": near_B.mean().item(),
        "held_out/uniformity": distances_P.mul(-2).exp().mean().log().item(),
        "held_out/triplet_accuracy": (near_B < far_B).float().mean().item(),
    }
