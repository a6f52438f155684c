"""Turns of several sides, so that a machine that slows down slows all of them, and what is said of repeated numbers."""

from __future__ import annotations

import ctypes
import gc
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress


def turns(names: Sequence[str], repetitions: int) -> Iterator[tuple[int, str]]:
    """Yield (repetition, name): every name once a repetition, and each repetition begins with the next one."""
    for repetition in range(repetitions):
        first = repetition % len(names)
        for name in [*names[first:], *names[:first]]:
            yield repetition, name


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest of numbers, of which there is at least one."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Divide repetition by repetition, as far as both have come."""
    return [one / other for one, other in zip(values, base, strict=False)]


def range_in_words(found: Mapping[str, float], digits: int = 2, scale: float = 1.0) -> str:
    """Write a `summary`, times ``scale``: ``2.23 (2.14 to 2.57)``."""
    middle, low, high = (f"{scale * found[name]:,.{digits}f}" for name in ("median", "lowest", "highest"))
    return f"{middle} ({low} to {high})"


def give_memory_back() -> None:
    """Return freed memory to the system, or one side would work in what another has left and show no peak."""
    gc.collect()
    # Of the C library of GNU only.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
