"""Which rows of a global batch each process takes, and how it splits them into micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
GROUPED = 8
"""Rows from which on a micro-batch is worth dividing into passes."""


@dataclass(frozen=True)
class Portion(Generic[T]):
    """One micro-batch of one process.

    ``counts`` is False for a row that others count and this process computes for nothing: DDP and DeepSpeed want
    equally many passes of every process.
    """

    rows: list[T]
    counts: bool = True


def deal(
    rows: Sequence[T], cost: Callable[[T], Any], *, size: int | None, rank: int = 0, world: int = 1
) -> list[Portion[T]]:
    """Deal a global batch to ``world`` processes and split this one's rows into micro-batches.

    Every process, and every micro-batch, gets as much of every length as the others: so none takes more memory than a
    batch of its size does, where the longest rows together would take several times as much. Inside a micro-batch
    passes are made of similar lengths, or of packed rows (`methods.parts.forward`); only micro-batches of less than
    `GROUPED` rows, of which there are no such passes to make, are of similar lengths themselves. The loss depends on
    none of it.

    Args:
        rows: The global batch, at least one row, the same on every process.
        cost: Length of a row, in any unit.
        size: Rows in one micro-batch; None for all that the process takes.
        rank: This process.
        world: How many there are.

    Returns:
        Micro-batches, as many on every process.
    """
    share = math.ceil(len(rows) / world)
    size = min(size or share, share)
    if world == 1 and size == share:
        return [Portion(list(rows))]
    own = sorted(rows, key=cost, reverse=True)[rank::world]
    count = math.ceil(len(own) / size)
    split = [own[at : at + size] for at in range(0, len(own), size)]
    portions = [Portion(rows) for rows in (split if size < GROUPED else (own[at::count] for at in range(count)))]
    idle = Portion([rows[0]], counts=False)
    return portions + [idle] * (math.ceil(share / size) - len(portions))
