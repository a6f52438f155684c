from __future__ import annotations

import pytest

from benchmarks.budget import Budget, largest_short_form, parse_budgets, short_form
from genembench.problem import Problem


def test_the_short_form_has_the_proportion_of_the_paper() -> None:
    # 10000 * 16382 / 50000 = 3276.4, rounded up.
    assert parse_budgets(["10000"]) == [
        Budget("10000", {"triplets": 10000, "instruct": 3277, "pairs": 3277, "text": 3277}, explicit=False)
    ]


@pytest.mark.parametrize(("triplets", "other"), [(1, 1), (3, 1), (4, 2), (1000, 328), (50000, 16382), (50001, 16383)])
def test_the_other_kinds_are_rounded_up(triplets: int, other: int) -> None:
    budget = short_form(triplets)
    assert [budget.cap(kind) for kind in ("triplets", "instruct", "pairs", "text")] == [triplets, other, other, other]


def test_large_numbers_stay_exact() -> None:
    # 999999999999 * 16382 / 50000 = 327639999999.67...
    assert short_form(999_999_999_999).cap("text") == 327_640_000_000


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["1000,5000,10000"], ["1000", "5000", "10000"]),
        (["10000", "5000,1000"], ["1000", "5000", "10000"]),
        (["900,10000,900", "10_000"], ["900", "10000"]),
        ([" 5 , 7 "], ["5", "7"]),
        (["1_000_000"], ["1000000"]),
        (
            ["text=5", "2", "instruct = 3, triplets=4", "1", "triplets=4,instruct=3"],
            ["1", "2", "text=5", "triplets=4,instruct=3"],
        ),
    ],
)
def test_several_values(values: list[str], labels: list[str]) -> None:
    assert [budget.label for budget in parse_budgets(values)] == labels


def test_by_kind() -> None:
    (budget,) = parse_budgets(["triplets=10_000,instruct=3277"])
    assert budget == Budget("triplets=10000,instruct=3277", {"triplets": 10000, "instruct": 3277}, explicit=True)
    assert (budget.cap("triplets"), budget.cap("instruct"), budget.cap("pairs")) == (10000, 3277, 0)
    with pytest.raises(Problem, match="unknown data kind 'tripelts'") as caught:
        budget.cap("tripelts")
    assert "Did you mean triplets?" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "what", "hint"),
    [
        ("0", "0 examples cannot be asked for", "Write"),
        ("-5", "-5 examples cannot", "Write"),
        ("triplets=0", "0 examples cannot", "Write"),
        ("10k", "'10k' is not a whole number", "Write it out: 10000."),
        ("2M", "'2M' is not a whole number", "Write it out: 2000000."),
        ("10,000", "'000' is not a whole number", "as in 10_000"),
        ("1e4", "'1e4' is not a whole number", "Write"),
        ("10.5", "'10.5' is not a whole number", "Write"),
        ("1_00", "'1_00' is not a whole number", "Write"),
        ("+5", "'+5' is not a whole number", "Write"),
        ("١٠", "is not a whole number", "Write"),
        ("9" * 5000, "is not a whole number", "Write"),
        ("many", "'many' is not a whole number", "Write"),
        ("triplets=", "'' is not a whole number", "Write"),
        ("triplets=5=6", "'5=6' is not a whole number", "Write"),
        ("triplet=5", "unknown data kind in --budget triplet=5: 'triplet'", "Did you mean triplets?"),
        ("=5", "unknown data kind", "Known: instruct, pairs, text, triplets"),
        ("triplets=5,triplets=6", "gives triplets twice", "Keep one"),
        ("10000,instruct=5", "mixes plain numbers", "--budget 10000 --budget instruct=5"),
        ("", "empty part", "Write"),
        ("5,,6", "empty part", "Write"),
    ],
)
def test_refused(value: str, what: str, hint: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_budgets(["7", value])
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_no_budget() -> None:
    with pytest.raises(Problem, match="no budget was given"):
        parse_budgets([])


@pytest.mark.parametrize(("kind", "rows", "largest"), [("triplets", 26030, 26030), ("text", 1, 3), ("pairs", 10, 30)])
def test_largest_short_form(kind: str, rows: int, largest: int) -> None:
    assert largest_short_form(kind, rows) == largest
    assert short_form(largest).cap(kind) <= rows < short_form(largest + 1).cap(kind)
