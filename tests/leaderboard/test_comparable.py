from __future__ import annotations

import random
from typing import Any

import pytest

from genembench.problem import Problem
from leaderboard.comparable import mark_incomparable, refuse_incomparable
from leaderboard.records import Record
from leaderboard.rows import build_rows
from tests.leaderboard.made_up import finished, record, run_json, untrained


def changed(method: str, change: dict[str, Any], **options: Any) -> Record:
    return Record.from_json(run_json(method, **options) | change)


def data(unique: int, address: str) -> dict[str, Any]:
    return {"triplets": {"path": "t.jsonl", "address": address, "unique": unique, "read": 26_030, "dropped": {}}}


def test_comparable_records_get_no_mark() -> None:
    marks = mark_incomparable([record(), record(seed=1), record(budget=4000), untrained(), finished()])
    assert marks.signs == {}
    assert marks.notes == {}


def test_the_smaller_part_is_marked_and_told_why() -> None:
    odd = changed("other", {"data": data(2000, "x")})
    large = record("third", backbone="large-english")
    bench = changed("fourth", {"benchmark": run_json()["benchmark"] | {"address": "x", "tasks": ["STS12"]}})
    everything = [record(), record("b"), untrained(), odd, large, bench]
    marks = mark_incomparable(everything)
    assert marks.signs == {"fourth-2000-s0": "†", "other-2000-s0": "‡", "third-2000-s0": "§"}
    assert marks.notes == {
        "†": "differs in the benchmark (sts, 1 tasks)",
        "‡": "differs in the data of kind 'triplets' (2,000 rows)",
        "§": "differs in the backbone (large-english)",
    }
    for seed in range(3):
        random.Random(seed).shuffle(everything)
        assert mark_incomparable(everything) == marks


def test_what_is_left_without_the_marked_ones_is_comparable() -> None:
    records = [
        record("a", backbone="one"),
        record("b", backbone="two"),
        record("c", backbone="two"),
        changed("c", {"run": "c-again"}, backbone="two"),
    ]
    with pytest.raises(Problem):
        refuse_incomparable(records)
    marks = mark_incomparable(records)
    # "c-2000-s0" comes before "c-again", so it is the one that stays.
    assert marks.signs == {"a-2000-s0": "†", "c-again": "‡"}
    refuse_incomparable([each for each in records if each.run not in marks.signs])


def test_one_difference_has_one_sign_and_signs_do_not_run_out() -> None:
    same = [record(name, backbone="two") for name in "xy"]
    assert mark_incomparable([record("a"), record("b"), record("c"), *same]).signs == {
        "x-2000-s0": "†",
        "y-2000-s0": "†",
    }
    many = [record(f"m{at}", backbone=f"b{at}") for at in range(6)]
    marks = mark_incomparable([record("a"), record("b"), *many])
    assert list(marks.notes) == ["†", "‡", "§", "¶", "††", "‡‡"]


def test_a_failed_run_lacks_what_it_never_reached_and_is_not_marked_for_it() -> None:
    failed = changed("f", {"benchmark": {"name": "", "address": "", "tasks": []}}, status="failed", reason="why")
    assert mark_incomparable([record(), failed]).signs == {}


def test_marked_runs_are_rows_of_their_own() -> None:
    records = [record(), changed("infonce-mean", {"run": "again"})]
    rows = build_rows(records, mark_incomparable(records).signs)
    assert [(row.first.run, row.mark) for row in rows] == [("again", ""), ("infonce-mean-2000-s0", "†")]
