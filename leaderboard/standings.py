"""Ranks with ties: from "this row is significantly better than that one" to intervals and letters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import count
from string import ascii_letters


def rank_interval(row: int, rows: Collection[int], better: Collection[tuple[int, int]]) -> tuple[int, int]:
    """Return the best and the worst rank a row may have.

    Args:
        row: One of ``rows``.
        rows: All rows that are ranked.
        better: Pairs of rows of which the first is significantly better than the second.
    """
    above = sum((other, row) in better for other in rows)
    below = sum((row, other) in better for other in rows)
    return 1 + above, len(rows) - below


def letters(ranked: Sequence[int], better: Collection[tuple[int, int]]) -> dict[int, str]:
    """Give letters to rows such that two rows share one exactly where they cannot be told apart.

    Each letter stands for a largest possible set of rows none of which is told apart from another, found by inserting
    one significant difference after the other and absorbing sets that lie inside others (Piepho 2004, "An algorithm
    for a letter-based representation of all-pairwise comparisons").

    Args:
        ranked: The rows, best first; the set that reaches highest gets the letter a.
        better: Pairs of rows of which the first is significantly better than the second; nothing is assumed of them.
    """
    sets = [frozenset(ranked)]
    for pair in sorted(better):
        one, other = pair
        inserted = []
        for each in sets:
            inserted += [each - {one}, each - {other}] if one in each and other in each else [each]
        sets = [each for each in inserted if not any(each < other for other in inserted)]  # no two are equal
    rank = {row: at for at, row in enumerate(ranked)}
    sets.sort(key=lambda each: sorted(rank[row] for row in each))
    names = _names()
    lettered = [(next(names), each) for each in sets]
    return {row: "".join(name for name, each in lettered if row in each) for row in ranked}


def _names() -> Iterator[str]:
    """Yield a to z, A to Z, then whatever other small letters there are: a set needs a name of one character."""
    yield from ascii_letters
    yield from (letter for letter in map(chr, count(0x3B1)) if letter.islower())
