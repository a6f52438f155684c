"""Token rows to read-outs through a transformer body: the one path that training and evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from methods.parts.flops import pass_cost
from methods.parts.ledger import charge
from methods.parts.tokens import TokenRow, length_groups, pad

TOKENS_PER_PASS = {"cpu": 1024, "cuda": 16384}
"""Padded tokens in one pass: enough to keep the matrix products busy, few enough that lengths stay similar."""


def run_body(
    body: nn.Module,
    rows: Sequence[TokenRow],
    readout: Callable[[Tensor, Tensor], Tensor],
    *,
    max_tokens: int | None = None,
    padding_side: str = "right",
) -> Tensor:
    """Encode rows in groups of similar length and read each out.

    Args:
        body: A transformer without head; its ``last_hidden_state`` is taken, so after the final norm.
        rows: What to encode; the result is in the same order.
        readout: ``(hidden [b, L, D], content [b, L]) -> [b, k, D]``.
        max_tokens: Padded tokens in one pass; changes speed and memory, not the result.
        padding_side: ``right`` or ``left``; changes nothing but rounding.

    Returns:
        ``[len(rows), k, D]``.
    """
    device = next(body.parameters()).device
    budget = max_tokens or TOKENS_PER_PASS.get(device.type, TOKENS_PER_PASS["cuda"])
    lengths = [len(row) for row in rows]
    groups = length_groups(lengths, budget)
    cost = pass_cost(body)
    pieces = []
    for group in groups:
        batch = pad([rows[i] for i in group], device, side=padding_side)
        hidden_BLD = body(
            input_ids=batch.ids_BL,
            attention_mask=batch.mask_BL,
            position_ids=batch.positions_BL,
            use_cache=False,
        ).last_hidden_state
        pieces.append(readout(hidden_BLD, batch.content_BL))
        own = [lengths[i] for i in group]
        charge(
            sequences=len(group),
            real_tokens=sum(own),
            padded_tokens=batch.ids_BL.numel(),
            model_flops=cost.of(own),
        )
    order = torch.tensor([i for group in groups for i in group], device=device)
    return torch.cat(pieces)[order.argsort()]
