from __future__ import annotations

from typing import Any

import pytest

from benchmarks.kinds import KINDS, normalise, texts_of
from genembench.problem import Problem

TRIPLET = {"query": "a", "positive": "b", "negative": "c"}
INSTRUCT = {"context": "a", "instruction": "b", "target": "c"}


def problem(kind: str, record: object) -> Problem:
    with pytest.raises(Problem) as caught:
        normalise(kind, record, "data.jsonl, line 17")
    assert "data.jsonl, line 17" in caught.value.what
    return caught.value


def test_the_four_kinds() -> None:
    assert {name: kind.fields for name, kind in KINDS.items()} == {
        "triplets": ("query", "positive", "negative"),
        "instruct": ("context", "instruction", "target"),
        "pairs": ("query", "document"),
        "text": ("text",),
    }
    assert all(kind.name == name and kind.flag == f"--{name}" for name, kind in KINDS.items())


def test_a_single_negative_becomes_a_list_and_the_record_is_left_alone() -> None:
    record = {**TRIPLET, "source": {"page": 3}}
    assert normalise("triplets", record, "x") == {
        "query": "a",
        "positive": "b",
        "negative": ["c"],
        "source": {"page": 3},
    }
    assert record["negative"] == "c"


def test_a_list_of_negatives_stays() -> None:
    assert normalise("triplets", {**TRIPLET, "negative": ["c", "d"]}, "x")["negative"] == ["c", "d"]


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("instruct", {**INSTRUCT, "id": 7}),
        ("pairs", {"query": " a ", "document": "b", "negative": 5}),
        ("text", {"text": "a\nb", "": None}),
    ],
)
def test_good_records_come_back_unchanged(kind: str, record: dict[str, Any]) -> None:
    assert normalise(kind, dict(record), "x") == record


@pytest.mark.parametrize(
    ("record", "got"),
    [([1], "a list"), ([], "an empty list"), ("a", "a string"), (None, "null"), (3, "a number"), (True, "true or")],
)
def test_only_objects(record: object, got: str) -> None:
    assert f"got {got}" in problem("text", record).what


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("query", None, "null, not text"),
        ("query", 5, "a number, not text"),
        ("query", ["a"], "a list, not text"),
        ("positive", "", "blank"),
        ("positive", " \n\t", "blank"),
        ("positive", "half \ud83d", "not valid Unicode"),
        ("negative", [], "an empty list, not text"),
        ("negative", ["c", " "], "blank"),
        ("negative", ["c", 4], "a number, not text"),
        ("negative", {"text": "c"}, "an object, not text"),
        ("negative", "", "blank"),
    ],
)
def test_fields_that_are_not_text(field: str, value: object, fault: str) -> None:
    error = problem("triplets", {**TRIPLET, field: value})
    assert f"field '{field}' is {fault}" in error.what
    assert f"--map {field}=" in error.hint


@pytest.mark.parametrize("absent", ["query", "positive", "negative"])
def test_an_absent_field_is_named_with_what_is_there(absent: str) -> None:
    error = problem("triplets", {name: text for name, text in TRIPLET.items() if name != absent} | {"label": 1})
    assert f"needs the field {absent} " in error.what
    assert "expected: query, positive, negative" in error.what
    assert "label" in error.what
    assert f"--map {absent}=THEIR_FIELD" in error.hint
    assert "as in" in error.hint


def test_near_misses_become_the_remedy() -> None:
    error = problem("triplets", {"query": "a", "pos": "b", "negatives": ["c"]})
    assert "'pos' for 'positive', 'negatives' for 'negative'" in error.hint
    assert "--map positive=pos --map negative=negatives" in error.hint


@pytest.mark.parametrize("kind", ["triplets", "instruct", "pairs"])
def test_a_field_in_use_is_no_near_miss(kind: str) -> None:
    for absent in KINDS[kind].fields:
        record = {field: "a" for field in KINDS[kind].fields if field != absent}
        assert "Did you mean" not in problem(kind, record).hint


@pytest.mark.parametrize(
    ("asked", "given", "record"),
    [
        ("triplets", "instruct", INSTRUCT),
        ("instruct", "triplets", TRIPLET),
        ("pairs", "triplets", TRIPLET),
        ("text", "pairs", {"query": "a", "document": "b"}),
        ("triplets", "text", {"text": "a"}),
    ],
)
def test_the_record_of_another_kind_is_recognised(asked: str, given: str, record: dict[str, str]) -> None:
    assert f"looks like {given} data: pass it with --{given}." in problem(asked, record).hint


def test_a_wide_record_is_listed_in_part() -> None:
    error = problem("text", {f"column{i}": i for i in range(40)})
    assert "column11 and 28 more" in error.what
    assert "column12" not in error.what


def test_unknown_kind_with_near_miss() -> None:
    for call in (lambda: normalise("triplet", TRIPLET, "x"), lambda: texts_of("triplet", TRIPLET)):
        with pytest.raises(Problem, match=r"unknown data kind 'triplet'") as caught:
            call()
        assert "Did you mean triplets?" in caught.value.hint


def test_texts_of() -> None:
    assert texts_of("triplets", {"query": "a", "positive": "b", "negative": ["c", "d"]}) == ["a", "b", "c", "d"]
    assert texts_of("instruct", INSTRUCT) == ["a", "c"]
    assert texts_of("pairs", {"query": "a", "document": "b", "x": "y"}) == ["a", "b"]
    assert texts_of("text", {"text": "a"}) == ["a"]
