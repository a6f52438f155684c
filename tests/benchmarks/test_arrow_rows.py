from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.arrow_rows import rows_of
from genembench.problem import Problem


def rows(*tables: Any, kind: str = "text", mapping: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    return list(rows_of(tables, "data", kind, mapping or {}))


def problem(*tables: Any, kind: str = "text", mapping: Mapping[str, str] | None = None) -> Problem:
    with pytest.raises(Problem) as caught:
        rows(*tables, kind=kind, mapping=mapping)
    assert caught.value.hint
    return caught.value


def as_json(values: list[str | None]) -> Any:
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(values, pa.string()))


def test_rows_come_normalised_and_renamed() -> None:
    table = pa.table({"sent0": ["a"], "sent1": ["b"], "hard_neg": ["c"], "id": [4], "none": pa.nulls(1)})
    mapping = {"query": "sent0", "positive": "sent1", "negative": "hard_neg"}
    assert rows(table, kind="triplets", mapping=mapping) == [
        {"query": "a", "positive": "b", "negative": ["c"], "id": 4, "none": None}
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "é"]),
        pa.array(["a", "é"], pa.large_string()),
        pa.array(["a", "é"], pa.string_view()),
        pa.array(["a", "é"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_text_in_every_form_that_arrow_has_for_it(column: Any) -> None:
    assert rows(pa.table({"text": column})) == [{"text": "a"}, {"text": "é"}]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.string(), 2)], ids=str
)
def test_negatives_in_every_form_that_arrow_has_for_a_list(kind: Any) -> None:
    table = pa.table({"query": ["a"], "positive": ["b"], "negative": pa.array([["c", "d"]], kind)})
    assert rows(table, kind="triplets")[0]["negative"] == ["c", "d"]


def test_rows_are_counted_over_all_tables() -> None:
    first, second = pa.table({"text": ["a", "b"]}), pa.table({"text": ["c", " "]})
    assert rows(first, second.slice(0, 1)) == [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    assert problem(first, second).what == "data, row 4: field 'text' is blank"


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array(["a", None]), "row 2: field 'text' is null, not text"),
        (pa.array([1, 2]), "row 1: field 'text' is a number, not text"),
        (pa.array([["a"]]), "row 1: field 'text' is a list, not text"),
        (pa.array([{"a": "b"}]), "row 1: field 'text' is an object, not text"),
        (pa.array([b"a"]), "row 1: field 'text' is bytes, not text"),
        (pa.array([0], pa.date32()), "row 1: field 'text' is date, not text"),
        (pa.array([b"a", b"\xff"]).view(pa.string()), "row 2: field 'text' cannot be read as string ('utf-8' codec"),
    ],
)
def test_what_is_no_text(column: Any, fault: str) -> None:
    assert fault in problem(pa.table({"text": column})).what


def test_a_null_among_the_negatives() -> None:
    table = pa.table({"query": ["a"], "positive": ["b"], "negative": [["c", None]]})
    assert "row 1: field 'negative' is null, not text" in problem(table, kind="triplets").what


def test_a_missing_column_names_the_near_miss() -> None:
    table = pa.table({"query": ["a"], "doc": ["b"]})
    assert "row 1: pairs data needs the field document" in problem(table, kind="pairs").what
    assert "--map document=doc" in problem(table, kind="pairs").hint
    assert "row 1: no field 'docs'" in problem(table, kind="pairs", mapping={"document": "docs"}).what


def test_two_columns_of_one_name() -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    assert "several columns called 'text'" in problem(table).what


@pytest.mark.parametrize("tables", [[], [pa.table({"text": pa.array([], pa.string())})], [pa.table({})]])
def test_no_rows(tables: list[Any]) -> None:
    assert problem(*tables).what == "data: holds no rows"


def test_extra_columns_of_types_that_json_does_not_have() -> None:
    moment = datetime.datetime(2020, 1, 2, 3, 4, 5)
    table = pa.table({"text": ["a"], "when": [moment], "raw": [b"\xff"], "cost": [decimal.Decimal("1.10")]})
    assert rows(table) == [{"text": "a", "when": moment, "raw": b"\xff", "cost": decimal.Decimal("1.10")}]


def test_an_extra_column_that_python_cannot_hold() -> None:
    table = pa.table({"text": ["a", "b"], "when": pa.array([0, 2**62], pa.timestamp("us"))})
    error = problem(table)
    assert "row 2: field 'when' cannot be read as timestamp[us] (date value out of range)" in error.what
    assert "without that column" in error.hint
    assert "data, row 4: field 'when'" in problem(table.slice(0, 1), table.slice(0, 1), table).what


def test_json_columns_are_parsed_so_that_quotation_marks_are_no_text() -> None:
    # What the hub's library makes of a field that is a text in one row and a list in another.
    negative = as_json(['"c"', '["d", "e"]'])
    extra = pa.array([["1", None], ['{"k": "v"}']])
    table = pa.table(
        {
            "query": ["a", "b"],
            "positive": ["x", "y"],
            "negative": negative,
            "list": pa.ListArray.from_arrays(extra.offsets, as_json(extra.flatten().to_pylist())),
            "object": pa.StructArray.from_arrays([as_json(["[2]", None])], ["in"]),
        }
    )
    assert rows(table, kind="triplets") == [
        {"query": "a", "positive": "x", "negative": ["c"], "list": [1, None], "object": {"in": [2]}},
        {"query": "b", "positive": "y", "negative": ["d", "e"], "list": [{"k": "v"}], "object": {"in": None}},
    ]
    assert json.loads(negative[0].as_py()) == "c"
    assert "row 1: field 'text' is a number" in problem(pa.table({"text": as_json(["3"])})).what
    assert "row 2: field 'text' cannot be read as extension<arrow.json>" in (
        problem(pa.table({"text": as_json(['"a"', '"b'])})).what
    )
