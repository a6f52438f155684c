"""Next-token cross-entropy of a causal language model, without ever holding logits for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from methods.parts.forward import passes
from methods.parts.head import Head
from methods.parts.losses import LossTerm
from methods.parts.tokens import TokenRow


def next_token_loss(body: nn.Module, head: Head, rows: Sequence[TokenRow]) -> LossTerm:
    """Sum of -log p(token | tokens before it) over every token but the first of each row.

    Args:
        body: A causal transformer without head.
        head: Its hidden states to log-probabilities.
        rows: Texts as tokens, two or more each; encoded in groups of similar length.

    Returns:
        The sum in nats, and the number of tokens that were predicted.
    """
    predictions = sum(map(len, rows)) - len(rows)
    sums = []
    for one in passes(body, rows):
        batch = one.batch
        real_BL = torch.ones_like(batch.content_BL) if batch.mask_BL is None else batch.mask_BL.bool()
        predicted_BL = real_BL[:, 1:]
        logp_N = head.token_logp(one.hidden_BLD[:, :-1][predicted_BL], batch.ids_BL[:, 1:][predicted_BL])
        sums.append(-logp_N.sum())
    return LossTerm(torch.stack(sums).sum(), float(predictions))
