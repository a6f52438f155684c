"""What passes through models is charged here: tokens and model FLOPs, wherever in a method the pass happens.

The runner opens a ledger around a stage or an evaluation; `forward.run_body` charges whichever ledger is open, so a
method cannot forget to. A context variable rather than an argument: a plug-in's code stays free of bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Ledger:
    """Totals of the passes made while the ledger was open."""

    sequences: int = 0
    real_tokens: int = 0
    padded_tokens: int = 0
    """Tokens as the model processed them, padding included."""
    model_flops: float = 0.0
    """Multiply-adds of matrix products count two; padding and recomputation are not model FLOPs."""


_open: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


@contextmanager
def charging(ledger: Ledger | None) -> Iterator[None]:
    """Charge ``ledger`` for what runs inside; None charges nobody (recomputation, warm-up)."""
    token = _open.set(ledger)
    try:
        yield
    finally:
        _open.reset(token)


def charge(*, sequences: int, real_tokens: int, padded_tokens: int, model_flops: float) -> None:
    """Add one pass to the open ledger, if there is one."""
    ledger = _open.get()
    if ledger is not None:
        ledger.sequences += sequences
        ledger.real_tokens += real_tokens
        ledger.padded_tokens += padded_tokens
        ledger.model_flops += model_flops
