"""Diagnostics: what a method wants to see of its training, beside the loss, in ``metrics.jsonl``.

The runner opens observations around a step, as it opens a ledger; a method says `observe` where the numbers are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Observations:
    """Means of what was observed while this was open, over all micro-batches."""

    _sums: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        """Add values; nothing is read from the device yet."""
        values = values.detach().float()
        total, count = self._sums.get(name, (values.new_zeros(()), 0))
        self._sums[name] = total + values.sum(), count + values.numel()

    def absorb(self, other: Observations) -> None:
        """Add what others observed."""
        for name, (total, count) in other._sums.items():
            before, seen = self._sums.get(name, (total.new_zeros(()), 0))
            self._sums[name] = before + total.to(before.device), seen + count

    def on_cpu(self) -> Observations:
        """Return the same, ready to travel to another process."""
        return Observations({name: (total.cpu(), count) for name, (total, count) in self._sums.items()})

    def means(self) -> dict[str, float]:
        """Mean of each name's values."""
        return {name: total.item() / count for name, (total, count) in self._sums.items() if count}


_open: ContextVar[Observations | None] = ContextVar("observations", default=None)


@contextmanager
def observing(observations: Observations | None) -> Iterator[None]:
    """Collect what is observed inside; None collects nothing."""
    token = _open.set(observations)
    try:
        yield
    finally:
        _open.reset(token)


def observe(name: str, values: Tensor) -> None:
    """Note values of any shape under ``name``; costs next to nothing, and nothing where nobody looks."""
    observations = _open.get()
    if observations is not None:
        observations.add(name, values)


def pass_on(observations: Observations) -> None:
    """Add observations that were collected apart (a step that may have to be computed again) to the open ones."""
    outer = _open.get()
    if outer is not None:
        outer.absorb(observations)
