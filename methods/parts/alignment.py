"""Conditional distribution alignment: the scores S1 and S2 and the loss over them (AutoRegEmbed, arXiv 2502.11401).

Everything here takes log-probabilities or divergences and gives numbers a triplet; nothing knows of models.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ReferenceSign = Literal["paper", "released"]


def likelihood_scores(
    query_BG: Tensor,
    self_B: Tensor,
    reference_BG: Tensor,
    *,
    beta: float,
    sign: ReferenceSign = "paper",
    log: bool = False,
) -> tuple[Tensor, Tensor]:
    """S1 and S2 from summed log-probabilities: a good encoder has a high S1 and a low S2.

    With d = π(d⁺|q) - π(d⁺|d⁺) and h = [π(d⁺|q) - ρ(d⁺|q)] - [π(d⁻|q) - ρ(d⁻|q)] (eq. 2): S1 = -σ(β|d|),
    S2 = -σ(β h), or with ``log`` -log σ of the same arguments (appendix B).

    Args:
        query_BG: π of each document given the query's compressed tokens; document 0 is the positive.
        self_B: π of the positive given its own compressed tokens.
        reference_BG: ρ of each document given the query: π under the reference.
        beta: Scales the log-probabilities.
        sign: ``paper`` subtracts the reference; ``released`` adds it, as the authors' released code does.
        log: Whether S is the negative logarithm of σ.

    Returns:
        S1 ``[B]`` and S2 ``[B, G - 1]``.
    """
    reference_BG = -reference_BG if sign == "released" else reference_BG
    gain_BG = query_BG - reference_BG
    closeness_B = beta * (query_BG[:, 0] - self_B).abs()
    separation_Bn = beta * (gain_BG[:, :1] - gain_BG[:, 1:])
    if log:
        return -functional.logsigmoid(closeness_B), -functional.logsigmoid(separation_Bn)
    return -closeness_B.sigmoid(), -separation_Bn.sigmoid()


def divergence_scores(divergence_BG: Tensor) -> tuple[Tensor, Tensor]:
    """S = -σ of each document's mean divergence over its tokens (appendix B, without β as printed): S1 and S2."""
    scores_BG = -divergence_BG.sigmoid()
    return scores_BG[:, 0], scores_BG[:, 1:]


def alignment_loss(s1_B: Tensor, s2_Bn: Tensor, present_Bn: Tensor, temperature: float) -> Tensor:
    """-log( e^{S1/τ} / (e^{S1/τ} + Σ_i e^{S2_i/τ}) ) of each triplet ``[B]``: several negatives share one denominator.

    Args:
        s1_B: How far query and positive are from predicting alike.
        s2_Bn: One score for each hard negative.
        present_Bn: False where a triplet has fewer than n negatives.
        temperature: τ.
    """
    absent_Bn = s2_Bn.masked_fill(~present_Bn, float("-inf"))
    logits = torch.cat([s1_B.unsqueeze(1), absent_Bn], dim=1) / temperature
    return logits.logsumexp(dim=1) - logits[:, 0]
