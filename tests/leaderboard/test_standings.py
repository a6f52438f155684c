from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from leaderboard.standings import letters, rank_interval


def test_nothing_told_apart_is_one_letter() -> None:
    assert letters([3, 1, 2], []) == {3: "a", 1: "a", 2: "a"}


def test_everything_told_apart_is_a_letter_each_from_the_best_down() -> None:
    ranked = [2, 0, 1]
    assert letters(ranked, list(combinations(ranked, 2))) == {2: "a", 0: "b", 1: "c"}


def test_overlapping_groups() -> None:
    # 0 and 3 differ, and 0 and 2; 1 differs from none but 4; 4 from all but 3.
    better = [(0, 2), (0, 3), (0, 4), (1, 4), (2, 4)]
    assert letters([0, 1, 2, 3, 4], better) == {0: "a", 1: "ab", 2: "b", 3: "bc", 4: "c"}


def test_differences_need_not_grow_with_the_distance() -> None:
    # The best differs from the second, yet not from the third, whose pairs are too few to say anything.
    assert letters([0, 1, 2], [(0, 1)]) == {0: "a", 1: "b", 2: "ab"}
    # A ring: each differs from its two opposites only; the five largest sets are its edges.
    ring = [(0, 2), (0, 3), (1, 3), (1, 4), (2, 4)]
    assert letters([0, 1, 2, 3, 4], ring) == {0: "ab", 1: "ac", 2: "cd", 3: "de", 4: "be"}


def brute_force(rows: list[int], better: set[tuple[int, int]]) -> set[frozenset[int]]:
    """Every largest set without a significant difference inside, by trying all sets."""
    apart = {frozenset(pair) for pair in better}
    free = [
        frozenset(each)
        for size in range(1, len(rows) + 1)
        for each in combinations(rows, size)
        if not any(frozenset(pair) in apart for pair in combinations(each, 2))
    ]
    return {each for each in free if not any(each < other for other in free)}


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_any_differences_give_the_largest_sets_and_no_others(share: float) -> None:
    rng = np.random.default_rng(int(100 * share))
    for _ in range(20):
        ranked = [int(each) for each in rng.permutation(9)]
        better = {pair for pair in combinations(ranked, 2) if rng.uniform() < share}
        found = letters(ranked, better)
        names = sorted(set("".join(found.values())))
        assert names == list("abcdefghijklmnopqrstuvwxyz"[: len(names)])
        sets = [frozenset(row for row in ranked if name in found[row]) for name in names]
        assert set(sets) == brute_force(ranked, better)
        assert len(set(sets)) == len(sets)
        places = [sorted(ranked.index(row) for row in each) for each in sets]
        assert places == sorted(places)
        assert "a" in found[ranked[0]]


def test_more_sets_than_the_alphabet_has_letters() -> None:
    ranked = list(range(60))
    found = letters(ranked, list(combinations(ranked, 2)))
    assert {len(each) for each in found.values()} == {1}
    assert len(set(found.values())) == 60


def test_ranks_are_intervals() -> None:
    better = {(0, 2), (0, 3), (1, 3)}
    assert [rank_interval(row, range(4), better) for row in range(4)] == [(1, 2), (1, 3), (2, 4), (3, 4)]


def test_every_order_that_the_differences_allow_lies_within_the_ranks() -> None:
    better = {(0, 2), (0, 3), (1, 3)}
    orders = [order for order in permutations(range(4)) if all(order.index(a) < order.index(b) for a, b in better)]
    for row in range(4):
        best, worst = rank_interval(row, range(4), better)
        assert {order.index(row) + 1 for order in orders} == set(range(best, worst + 1))
