from __future__ import annotations

import itertools

import pytest

from benchmarks.order import digest, epoch_order, example_id, ordered
from genembench.problem import Problem

# Expected orders come from `printf 'SEED:ID' | b2sum | sort`, ids from `b2sum -l 80`, digests from `sha256sum`.
IDS = ["aa", "bb", "cc", "dd"]


def in_order(ids: list[str], order: list[int]) -> list[str]:
    return [ids[i] for i in order]


@pytest.mark.parametrize(
    ("kind", "row", "expected"),
    [
        ("triplets", {"query": "a", "positive": "b", "negative": ["c"]}, "9be0ff8366188f115321"),
        ("triplets", {"query": "a", "positive": "b", "negative": ["c", "dé"]}, "e0b6154a1dd6ef032846"),
        ("pairs", {"query": "a", "document": "b"}, "f3d62f57f84b50297cb6"),
        ("text", {"text": "a"}, "962d85f6f79b68ccc9da"),
    ],
)
def test_example_ids_are_fixed_for_all_time(kind: str, row: dict[str, object], expected: str) -> None:
    assert example_id(kind, row) == expected
    assert example_id(kind, {"extra": [1], **dict(reversed(row.items()))}) == expected


def test_every_field_of_the_kind_counts_and_no_border_is_lost() -> None:
    rows = [
        {"query": "a", "positive": "b", "negative": ["c"]},
        {"query": "ab", "positive": "", "negative": ["c"]},
        {"query": "b", "positive": "a", "negative": ["c"]},
        {"query": "a", "positive": "b", "negative": ["c", "d"]},
        {"query": "a", "positive": "b", "negative": ["d", "c"]},
        {"query": "a", "positive": "b", "negative": ["cd"]},
        {"query": "a", "positive": "b", "negative": ['c","d']},
        {"query": "a ", "positive": "b", "negative": ["c"]},
    ]
    assert len({example_id("triplets", row) for row in rows}) == len(rows)


def test_unknown_kind() -> None:
    with pytest.raises(Problem, match="unknown data kind"):
        example_id("texts", {"text": "a"})


def test_ordered_is_fixed_for_all_time() -> None:
    assert in_order(IDS, ordered(IDS, 0)) == ["dd", "aa", "cc", "bb"]
    assert in_order(IDS, ordered(IDS, 1)) == ["aa", "cc", "dd", "bb"]


def test_ordered_forgets_the_order_it_was_given() -> None:
    for shuffled in itertools.permutations(IDS):
        assert in_order(list(shuffled), ordered(shuffled, 0)) == ["dd", "aa", "cc", "bb"]


def test_removing_one_leaves_the_others_in_order() -> None:
    rest = ["bb", "cc", "dd"]
    assert in_order(rest, ordered(rest, 0)) == ["dd", "cc", "bb"]


def test_ordered_is_a_permutation() -> None:
    ids = [f"{i:020x}" for i in range(1000)]
    order = ordered(ids, 7)
    assert sorted(order) == list(range(1000))
    assert order != list(range(1000))
    assert ordered([], 0) == []


def test_epochs() -> None:
    start = ["dd", "aa", "cc", "bb"]
    assert epoch_order(start, 0, 0) == [0, 1, 2, 3]
    assert in_order(start, epoch_order(start, 0, 1)) == ["bb", "dd", "aa", "cc"]
    assert in_order(start, epoch_order(start, 0, 2)) == ["cc", "dd", "aa", "bb"]
    assert in_order(IDS, epoch_order(IDS, 0, 1)) == ["bb", "dd", "aa", "cc"]
    with pytest.raises(ValueError, match="got -1"):
        epoch_order(start, 0, -1)


def test_digest() -> None:
    assert digest(["aa", "bb"]) == "329d670e59ead1543a2d36865895972560bc434204c5f4a0c8219005dd312719"
    assert digest(["bb", "aa"]) == "3f4ae41fc9d1c20a850e9cd9dff309aee5409d24e4bb3a940f33d2998caed617"
    assert digest(iter([])) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest(["a", "abb"]) != digest(["aa", "bb"])
