"""Losses on tensors; they know nothing of encoding, batching or processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LossTerm:
    """A loss before its division: ``sum`` over examples or tokens (0-d tensor) and the ``weight`` it is divided by.

    The trainer divides by the weight of the whole optimizer step over all processes, so the size of a micro-batch
    changes nothing. ``coefficient`` mixes the terms of one stage.
    """

    sum: Tensor
    weight: float
    coefficient: float = 1.0


def info_nce(
    query_BD: Tensor,
    documents_BGD: Tensor,
    present_BG: Tensor,
    *,
    temperature: float,
    in_batch: bool,
) -> LossTerm:
    """InfoNCE over cosine similarities (AutoRegEmbed, eq. 1 with the minus logarithm that it omits).

    Document 0 of each query is its positive, the others are its hard negatives. The candidates of a query are its own
    documents, or with ``in_batch`` every document of the batch.

    Args:
        query_BD: L2-normalised query vectors.
        documents_BGD: L2-normalised document vectors; G = 1 + hard negatives.
        present_BG: False where a query has fewer than G - 1 negatives; such documents are nobody's candidates.
        temperature: Divides the similarities.
        in_batch: Whether other queries' documents are negatives too.

    Returns:
        The sum over queries and their number.
    """
    batch, group, _ = documents_BGD.shape
    # Autocast would take the similarities in bfloat16, whose three digits a temperature of 0.02 makes worthless.
    with torch.autocast(query_BD.device.type, enabled=False):
        if in_batch:
            similarity = query_BD.float() @ documents_BGD.float().flatten(0, 1).T
            absent = ~present_BG.flatten().unsqueeze(0)
            target = torch.arange(batch, device=query_BD.device) * group
        else:
            similarity = torch.einsum("bd,bgd->bg", query_BD.float(), documents_BGD.float())
            absent = ~present_BG
            target = torch.zeros(batch, dtype=torch.long, device=query_BD.device)
        logits = (similarity / temperature).masked_fill(absent, float("-inf"))
        return LossTerm(torch.nn.functional.cross_entropy(logits, target, reduction="sum"), float(batch))
