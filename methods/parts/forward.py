"""Token rows to read-outs through a transformer body: the one path that training and evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.parts.flops import pass_cost
from methods.parts.ledger import charge
from methods.parts.tokens import PaddedBatch, TokenRow, length_groups, pad

TOKENS_PER_PASS = {"cpu": 1024, "cuda": 16384}
"""Padded tokens in one pass: enough to keep the matrix products busy, few enough that lengths stay similar."""


def tokens_per_pass(device: torch.device) -> int:
    """Padded tokens that one pass on ``device`` should take."""
    return TOKENS_PER_PASS.get(device.type, TOKENS_PER_PASS["cuda"])


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
    groups, pieces = [], []
    for one in passes(body, rows, max_tokens=max_tokens, padding_side=padding_side):
        groups.append(one.rows)
        pieces.append(readout(one.hidden_BLD, one.batch.content_BL))
    order = torch.tensor([i for group in groups for i in group], device=pieces[0].device)
    return torch.cat(pieces)[order.argsort()]


@dataclass(frozen=True)
class Pass:
    """One group of rows that went through the body: their indices, the padded batch, and its last hidden states."""

    rows: list[int]
    batch: PaddedBatch
    hidden_BLD: Tensor


def passes(
    body: nn.Module, rows: Sequence[TokenRow], *, max_tokens: int | None = None, padding_side: str = "right"
) -> Iterator[Pass]:
    """Send rows through the body in groups of similar length, charging the open ledger for each; as `run_body`."""
    device = next(body.parameters()).device
    budget = max_tokens or tokens_per_pass(device)
    lengths = [len(row) for row in rows]
    cost = pass_cost(body)
    for group in length_groups(lengths, budget):
        batch = pad([rows[i] for i in group], device, side=padding_side)
        hidden_BLD = body(
            input_ids=batch.ids_BL,
            attention_mask=batch.mask_BL,
            position_ids=batch.positions_BL,
            use_cache=False,
        ).last_hidden_state
        own = [lengths[i] for i in group]
        charge(
            sequences=len(group),
            real_tokens=sum(own),
            padded_tokens=batch.ids_BL.numel(),
            model_flops=cost.of(own),
        )
        yield Pass(group, batch, hidden_BLD)
