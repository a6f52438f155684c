"""Spearman's correlation of many resamples of the same pairs, exactly, without ranking anything again.

The values are sorted once. A resample only says how often each pair is drawn; with C the running sum of these counts
in sorted order, the copies of one value take the places C_before + 1 to C_end, and all of them get the middle one as
their rank. Twice that rank is C_before + C_end + 1: everything is done in doubled ranks, which are whole numbers. Their
sums are exact in float64 up to 2 n^3 = 2^53 (n = 165,000), so the order of summation, and with it the machine, does not
matter. Above that they are rounded like any other sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leaderboard.resampling import Counts, count_type

FloatArray = NDArray[np.float64]
# Running sums of several resamples are added at once, as the 16- or 32-bit parts of one 64-bit number: no part can
# overflow into the next. This is four (two) times as fast as one sum at a time.
LANES = np.uint64


class Ranked:
    """Values in sorted order.

    Attributes:
        order: Places of the values from the smallest to the largest ``[n]``.
    """

    def __init__(self, values: FloatArray) -> None:
        """Sort ``values`` ``[n]``, all finite."""
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sizes = np.diff(np.r_[first, len(values)])
        # Ties are few where scores are cosines: only they are looked up, all other values are their own groups.
        tied = sizes > 1
        self._first, self._sizes = first[tied], sizes[tied]
        self._places = np.flatnonzero(np.repeat(tied, sizes))

    def doubled_ranks(self, running: Counts, out: Counts) -> Counts:
        """Return twice the rank of each value in each resample, less one; ``[n, b]`` in sorted order.

        Args:
            running: Running sums ``[n + 1, b]`` of the counts in sorted order, from zero.
            out: Where to write, ``[n, b]``.
        """
        np.add(running[:-1], running[1:], out=out)
        shared = running[self._first] + running[self._first + self._sizes]
        out[self._places] = np.repeat(shared, self._sizes, axis=0)
        return out

    def cubes(self, running: Counts, counts: Counts, all_cubes: FloatArray) -> FloatArray:
        """Return the sum over distinct values of (copies in the resample) cubed, ``[b]``.

        Args:
            running: As in ``doubled_ranks``.
            counts: The counts in sorted order, ``[n, b]``.
            all_cubes: The sum over pairs, which is the answer where no two values are equal.
        """
        copies = (running[self._first + self._sizes] - running[self._first]).astype(np.float64)
        return all_cubes + sum_of_cubes(copies) - sum_of_cubes(counts[self._places].astype(np.float64))


def sum_of_cubes(values: FloatArray) -> FloatArray:
    """Return the sum of cubes of each column of ``[k, b]``."""
    cubes: FloatArray = np.einsum("kb,kb,kb->b", values, values, values)
    return cubes


class Spearman:
    """Correlates gold scores with each method's scores, resample by resample; ties share their middle rank.

    Where all gold scores or all scores of a resample are the same there is no correlation; 0 is returned for it.
    """

    def __init__(self, gold: FloatArray, scores: Sequence[FloatArray]) -> None:
        """Sort everything once.

        Args:
            gold: Gold score of each pair ``[n]``, finite.
            scores: Score of each pair by each method, ``[n]`` each, finite.
        """
        self._gold = Ranked(gold)
        self._scores = [Ranked(each) for each in scores]
        self._room = _Room(len(gold), 0)

    def __call__(self, counts: Counts) -> FloatArray:
        """Return the correlations ``[methods, b]``, from -1 to 1.

        Args:
            counts: How often each pair is drawn in each of b resamples, ``[n, b]`` as ``resamples`` yields them.
        """
        n, b = counts.shape
        if b % 4:
            counts = np.pad(counts, ((0, 0), (0, -b % 4)))  # whole lanes
        counts = np.ascontiguousarray(counts, count_type(n))
        if self._room.ranks.shape != counts.shape:
            self._room = _Room(*counts.shape)
        room = self._room

        def rank(by: Ranked) -> FloatArray:
            """Fill the counts, their sums and the ranks in the order of ``by``; return its sum of cubes."""
            np.take(counts, by.order, axis=0, out=room.counts, mode="clip")  # a mode that checks would copy once more
            np.cumsum(room.counts.view(LANES), axis=0, out=room.running[1:].view(LANES))
            room.ranks[...] = by.doubled_ranks(room.running, room.doubled)
            return by.cubes(room.running, room.counts, all_cubes)

        room.ranks[...] = counts
        all_cubes = sum_of_cubes(room.ranks)
        # A sum of squared deviations of doubled ranks is (n^3 - cubes) / 3; the thirds are left out on both sides.
        gold_squares = n**3 - rank(self._gold)
        room.ranks -= n  # the mean of C_before + C_end: centred on one side, a product with the other needs no centring
        room.ranks *= room.counts
        room.weighted[self._gold.order] = room.ranks
        result = np.zeros((len(self._scores), counts.shape[1]))
        for at, by in enumerate(self._scores):
            squares = n**3 - rank(by)
            np.take(room.weighted, by.order, axis=0, out=room.weighted_here, mode="clip")
            products: FloatArray = 3 * np.einsum("nb,nb->b", room.weighted_here, room.ranks)
            scale = np.sqrt(gold_squares * squares)
            np.divide(products, scale, out=result[at], where=scale > 0)
        return result[:, :b]


class _Room:
    """The arrays that a block is worked in: getting them anew for each block would take longer than filling them."""

    def __init__(self, n: int, b: int) -> None:
        self.counts, self.doubled = np.empty((n, b), count_type(n)), np.empty((n, b), count_type(n))
        self.running = np.zeros((n + 1, b), count_type(n))
        self.ranks, self.weighted, self.weighted_here = np.empty((n, b)), np.empty((n, b)), np.empty((n, b))
