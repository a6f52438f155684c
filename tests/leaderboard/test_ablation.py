from __future__ import annotations

from typing import Any

import pytest

from genembench.problem import Problem
from leaderboard.ablation import ablation, families
from leaderboard.board import Board
from leaderboard.records import Record
from leaderboard.tables import Cell, Head
from tests.leaderboard.small import AVERAGE, board, comparison, free, outside, pair, pair_json


def staged(method: str, stages: int, **options: Any) -> Record:
    value = pair_json(method, 1, 2, **options)
    value["costs"]["stages"] = [value["costs"]["stages"][0] | {"name": str(at)} for at in range(stages)]
    return Record.from_json(value)


def grouped(records: list[Record], chosen: dict[str, tuple[str, ...]] | None = None) -> list[list[str]]:
    """The labels of every family, the full method first."""
    one = board(records)
    return [[one.rows[at].label for at in (each.full, *each.variants)] for each in families(one, chosen)]


def test_the_method_named_by_the_shared_word_alone_is_the_full_one() -> None:
    records = [staged("llm2vec", 2), staged("llm2vec-simcse-supervised", 3), staged("auto", 3), staged("auto-kl", 3)]
    assert grouped(records) == [["auto", "auto-kl"], ["llm2vec", "llm2vec-simcse-supervised"]]


def test_otherwise_it_is_the_one_with_the_most_stages_and_none_that_says_only() -> None:
    anchors = [staged("anchor-contrastive-only", 1), staged("anchor-d2q-only", 2), staged("anchor-embedding", 2)]
    assert grouped(anchors) == [["anchor-embedding", "anchor-contrastive-only", "anchor-d2q-only"]]
    assert grouped(anchors[:2]) == []
    assert grouped([pair("infonce-last", 1, 2), pair("infonce-mean", 1, 2)]) == []
    assert grouped([free("untrained-last", 1, 2), free("untrained-mean", 1, 2), pair("other", 1, 2)]) == []


def test_a_family_is_compared_inside_its_budget_and_a_lonely_method_with_nothing() -> None:
    records = [staged(name, 2, budget=budget) for name, budget in (("a", 500), ("a-x", 500), ("a", 2000), ("b", 2000))]
    assert grouped([*records, outside("a-finished", 1, 2)]) == [["a", "a-x"]]


def test_settings_of_one_method_are_variants_of_the_row_in_the_middle_of_them() -> None:
    def tried(lr: float, temperature: float) -> Record:
        return pair("a", 1, 2, config={"lr": lr, "temperature": temperature})

    star = [tried(1, 0.1), tried(2, 0.1), tried(4, 0.1), tried(2, 0.2), tried(2, 0.4)]
    (family,) = grouped(star)
    assert family[0] == "a (lr=2, temperature=0.1)"
    assert len(family) == 5
    # Of two rows neither is in the middle: the first of the table.
    assert grouped(star[:2]) == [["a (lr=1)", "a (lr=2)"]]


def test_a_list_can_be_given_by_methods_or_by_labels() -> None:
    records = [pair("a", 1, 2, config={"lr": 1}), pair("a", 1, 2, config={"lr": 2}), pair("b", 1, 2), pair("c", 1, 2)]
    assert grouped(records, {"b": ("c", "a")}) == [["b", "c", "a (lr=1)", "a (lr=2)"]]
    assert grouped(records, {"a (lr=2)": ("a (lr=1)",)}) == [["a (lr=2)", "a (lr=1)"]]
    assert grouped(records, {"a": ("a",)}) == [["a (lr=1)", "a (lr=2)"]]
    failed = pair("d", 1, 2, status="failed", reason="why")
    assert grouped([*records, failed], {"b": ("d",), "d": ("b",)}) == []
    with pytest.raises(Problem, match="unknown method of an ablation 'bb'"):
        grouped(records, {"bb": ("c",)})
    with pytest.raises(Problem, match="unknown method of an ablation 'e'"):
        grouped(records, {"b": ("c", "e")})


def example(**said: Any) -> Board:
    # Table order is the order of the names: 0 is "a", 1 "a-b", 2 "a-c", 3 "a-d".
    records = [pair("a", 60, 40, flops=2e12), pair("a-b", 50, 40), pair("a-c", 61, 41), pair("a-d", 60, 39)]
    return board(records, **said)


def test_the_table_has_differences_variant_minus_full_with_intervals_and_stars() -> None:
    compared = [
        comparison(0, 1, 5.0, 3.5, 6.504, 0.0004),  # the full one is better by 5
        comparison(2, 0, 1.0, -0.25, 2.25, 0.25),  # the variant is better by 1
        comparison(2, 1, 6.0, 1.0, 9.0, 0.001),  # not asked for
    ]
    table = ablation(example(compared=compared, bounds={(0, AVERAGE): (48.0, 52.0)}, level={AVERAGE: {0}}))
    assert table is not None
    assert table.heads == (Head("Method", True), *map(Head, ("Vol.", "FLOPs", AVERAGE, "Difference", "p")))
    (group,) = table.groups
    assert group.heading == "a"
    assert group.lines == (
        (Cell("a", "(full)"), Cell("2,000"), Cell("2.00 T"), Cell("50.00", "[48.0, 52.0]"), Cell("–"), Cell("–")),
        (
            *(Cell("a-b"), Cell("2,000"), Cell("1.00 T"), Cell("45.00")),
            *(Cell("−5.00", "[−6.50, −3.50] *"), Cell("<0.001")),
        ),
        (Cell("a-c"), Cell("2,000"), Cell("1.00 T"), Cell("51.00"), Cell("+1.00", "[−0.25, 2.25]"), Cell("0.250")),
        # Without predictions there is a difference and nothing to say of it.
        (Cell("a-d"), Cell("2,000"), Cell("1.00 T"), Cell("49.50"), Cell("−0.50"), Cell("–")),
    )


def test_several_budgets_are_told_apart_in_the_headings() -> None:
    records = [pair(name, 1, 2, budget=budget) for name in ("a", "a-b") for budget in (500, 2000)]
    table = ablation(board(records))
    assert table is not None
    assert [group.heading for group in table.groups] == ["a, budget 500", "a, budget 2,000"]


def test_there_is_no_table_without_variants_or_without_a_score_that_ranks() -> None:
    assert ablation(board([pair("a", 1, 2), pair("b", 1, 2)])) is None
    values = [pair_json(name, 1, 2) | {"averages": []} for name in ("a", "a-b")]
    assert ablation(board([Record.from_json(value) for value in values])) is None
