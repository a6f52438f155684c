"""Draws the pairs of a task with replacement: the same draws for every method, seed and point of a course.

Sharing them is what makes comparisons paired. They depend on nothing but the task's name and its number of pairs, and
the first of many resamples are those of few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.unsignedinteger[Any]]


def resamples(task: str, n: int, n_resamples: int) -> Iterator[Counts]:
    """Yield how often each pair is drawn in each resample, in blocks that fit the cache.

    Only the raw output of a bit generator is guaranteed to stay the same in all versions of numpy, so the draws are
    made from it here. A 32-bit number x stands for the pair floor(x n / 2^32): of 2^32 numbers, pairs differ by one.

    Args:
        task: Name of the task; it seeds the draws.
        n: Number of pairs, below 2^31.
        n_resamples: How many resamples in all.

    Yields:
        Counts ``[n, b]`` of the next b resamples, each column with the sum n. The type has room for 2 n.
    """
    generator = np.random.PCG64(int.from_bytes(hashlib.sha256(task.encode()).digest(), "big"))
    block = block_size(n)
    for start in range(0, n_resamples, block):
        b = min(block, n_resamples - start)
        # Each resample begins a new 64-bit number, so that it does not matter how many form a block.
        raw = generator.random_raw(b * ((n + 1) // 2)).astype("<u8", copy=False)
        pairs = raw.view("<u4").reshape(b, -1)[:, :n].astype(np.uint64)
        pairs *= np.uint64(n)
        pairs >>= np.uint64(32)
        cells = pairs.view(np.int64)  # of the block, pair by pair
        cells *= b
        cells += np.arange(b)[:, None]
        yield np.bincount(cells.ravel(), minlength=n * b).reshape(n, b).astype(count_type(n))


def count_type(n: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest type that holds sums of counts up to 2 n."""
    return np.uint16 if 2 * n < 2**16 else np.uint32


def block_size(n: int) -> int:
    """Return how many resamples of n pairs are worked on at once: for most n an array of them takes about 1 MiB."""
    return min(256, max(32, 2**17 // n // 16 * 16))
