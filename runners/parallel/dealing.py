"""Which rows of a global batch each process takes, and how it splits them into micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


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

    Rows of similar length come together, the longest first, so a micro-batch pads little and memory peaks at the start;
    processes take turns, so each gets as much of every length. The loss depends on neither.

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
    portions = [Portion(own[at : at + size]) for at in range(0, len(own), size)]
    idle = Portion([rows[0]], counts=False)
    return portions + [idle] * (math.ceil(share / size) - len(portions))
