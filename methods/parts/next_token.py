"""Next-token cross-entropy of a causal language model, without ever holding logits for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from methods.parts.forward import passes
from methods.parts.ledger import charge
from methods.parts.losses import LossTerm
from methods.parts.tokens import TokenRow

LOGITS_AT_ONCE = 2**24
"""Numbers in one block of logits: 64 MiB in float32."""


def next_token_loss(body: nn.Module, head: nn.Linear, rows: Sequence[TokenRow]) -> LossTerm:
    """Sum of -log p(token | tokens before it) over every token but the first of each row.

    Args:
        body: A causal transformer without head.
        head: Hidden states to logits, ``weight [V, D]``.
        rows: Texts as tokens, two or more each; encoded in groups of similar length.

    Returns:
        The sum in nats, and the number of tokens that were predicted.
    """
    # Two FLOPs per multiply-add; with gradients the products for input and weight too.
    per_prediction = 2.0 * head.weight.numel() * (3 if torch.is_grad_enabled() else 1)
    predictions = sum(map(len, rows)) - len(rows)
    sums = []
    for one in passes(body, rows):
        batch = one.batch
        real_BL = torch.ones_like(batch.content_BL) if batch.mask_BL is None else batch.mask_BL.bool()
        predicted_BL = real_BL[:, 1:]
        sums.append(cross_entropy_sum(one.hidden_BLD[:, :-1][predicted_BL], head, batch.ids_BL[:, 1:][predicted_BL]))
    # The passes have paid for themselves; this is the head's share.
    charge(sequences=0, real_tokens=0, padded_tokens=0, model_flops=per_prediction * predictions)
    return LossTerm(torch.stack(sums).sum(), float(predictions))


def cross_entropy_sum(hidden_ND: Tensor, head: nn.Linear, target_N: Tensor) -> Tensor:
    """Sum of the cross-entropies of N positions, in float32; logits of a block live only while it is computed."""
    size = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
    if len(target_N) <= size:
        return _block(hidden_ND, head, target_N)
    blocks = [
        checkpoint(_block, hidden_ND[at : at + size], head, target_N[at : at + size], use_reentrant=False)
        for at in range(0, len(target_N), size)
    ]
    return torch.stack(blocks).sum()


def _block(hidden_ND: Tensor, head: nn.Linear, target_N: Tensor) -> Tensor:
    return functional.cross_entropy(head(hidden_ND).float(), target_N, reduction="sum")
