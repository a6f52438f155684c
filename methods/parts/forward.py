"""Token rows to read-outs through a transformer body: the one path that training and evaluation share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.parts.flops import pass_cost
from methods.parts.ledger import charge
from methods.parts.packed_rows import laid_end_to_end, packs
from methods.parts.tokens import PaddedBatch, TokenRow, length_groups, pad

TOKENS_PER_PASS = {"cpu": 1024, "cuda": 16384}
"""Tokens in one pass, padding included: enough to keep the matrix products busy, few enough that lengths stay similar
and that what is kept for the backward pass stays in the processor's cache."""
SPREAD = 2
"""Largest size of a packed pass's hidden states once they are laid out in rows, in tokens per pass."""


_undivided: ContextVar[bool] = ContextVar("undivided", default=False)


@contextmanager
def undivided() -> Iterator[None]:
    """Have every call inside make one pass of all its rows.

    Processes that share a model's weights must make equally many passes, whatever the lengths of their rows (ZeRO-3).
    """
    token = _undivided.set(True)
    try:
        yield
    finally:
        _undivided.reset(token)


def tokens_per_pass(device: torch.device) -> int:
    """Tokens, padding included, that one pass on ``device`` should take."""
    return sys.maxsize if _undivided.get() else TOKENS_PER_PASS.get(device.type, TOKENS_PER_PASS["cuda"])


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
        max_tokens: Tokens in one pass, padding included; changes speed and memory, not the result.
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
    """One group of rows that went through the body: their indices, the padded batch, and its last hidden states.

    What stands at padded positions means nothing. Rows that went packed are padded afterwards, with zeros.
    """

    rows: list[int]
    batch: PaddedBatch
    hidden_BLD: Tensor


def passes(
    body: nn.Module, rows: Sequence[TokenRow], *, max_tokens: int | None = None, padding_side: str = "right"
) -> Iterator[Pass]:
    """Send rows through the body in groups of similar length, charging the open ledger for each; as `run_body`.

    A body that takes packed rows (`packing.packs`) gets the rows of a group end to end, and computes no padding.
    """
    device = next(body.parameters()).device
    budget = max_tokens or tokens_per_pass(device)
    lengths = [len(row) for row in rows]
    cost = pass_cost(body)
    packed = packs(body)
    for group in packed_groups(lengths, budget) if packed else length_groups(lengths, budget):
        some = [rows[i] for i in group]
        batch = pad(some, device, side=padding_side)
        own = [lengths[i] for i in group]
        hidden_BLD = _run_packed(body, some, padding_side) if packed else _run_padded(body, batch)
        charge(
            sequences=len(group),
            real_tokens=sum(own),
            padded_tokens=sum(own) if packed else batch.ids_BL.numel(),
            model_flops=cost.of(own),
        )
        yield Pass(group, batch, hidden_BLD)


def packed_groups(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Split indices into groups of similar length whose tokens, without padding, stay within ``max_tokens``.

    A single row longer than ``max_tokens`` forms a group of its own. Longest first, so that rows of equal length stand
    together. One long row and a thousand short ones do not: padded for the read-out they would fill the memory.
    """
    groups: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        tokens += lengths[index]
        if (
            groups
            and tokens <= max_tokens
            and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= max(SPREAD * max_tokens, tokens)
        ):
            groups[-1].append(index)
        else:
            groups.append([index])
            tokens = lengths[index]
    return groups


def _run_padded(body: nn.Module, batch: PaddedBatch) -> Tensor:
    hidden_BLD: Tensor = body(
        input_ids=batch.ids_BL,
        attention_mask=batch.mask_BL,
        position_ids=batch.positions_BL,
        use_cache=False,
    ).last_hidden_state
    return hidden_BLD


def _run_packed(body: nn.Module, rows: Sequence[TokenRow], padding_side: str) -> Tensor:
    device = next(body.parameters()).device
    lengths = [len(row) for row in rows]
    ids_T = torch.tensor([token for row in rows for token in row.ids], device=device)
    layout = laid_end_to_end(lengths, device)
    hidden_TD: Tensor = body(input_ids=ids_T[None], use_cache=False, **layout).last_hidden_state[0]
    longest = max(lengths)
    if min(lengths) == longest:
        return hidden_TD.view(len(rows), longest, -1)
    count_B = torch.tensor(lengths)
    place_L = torch.arange(longest)
    real_BL = place_L < count_B[:, None] if padding_side == "right" else place_L >= longest - count_B[:, None]
    # Looked for on the CPU: a GPU would have to be waited for.
    places_T = real_BL.flatten().nonzero().flatten().to(device)
    padded_XD = hidden_TD.new_zeros(real_BL.numel(), hidden_TD.shape[-1]).index_copy(0, places_T, hidden_TD)
    return padded_XD.view(len(rows), longest, -1)
