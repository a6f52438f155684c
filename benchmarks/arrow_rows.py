"""Rows out of Arrow tables, the form in which both Parquet files and the hub's library hand data over.

Nothing here imports pyarrow: the tables bring all that is needed, and the command line's help stays light.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks.files import rename
from benchmarks.kinds import normalise
from genembench.problem import Problem

BATCH_ROWS = 1024  # rows that are Python objects at a time


def rows_of(tables: Iterable[Any], name: str, kind: str, mapping: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of tables or record batches that follow each other.

    A null is what JSON's null is. Every column comes along; values that JSON does not have (times, bytes, decimals)
    stay the Python objects that Arrow makes of them.

    Args:
        tables: ``pyarrow.Table`` or ``pyarrow.RecordBatch`` objects.
        name: Where they are from, for error messages, which add the row, counted from 1 over all tables.
        kind: One of ``benchmarks.kinds.KINDS``.
        mapping: Our field to the table's column; see :func:`benchmarks.files.rename`.

    Raises:
        Problem: There are no rows, or one is not a record of ``kind``.
    """
    number = 0
    for table in tables:
        for record in _records(table, name, number):
            number += 1
            where = f"{name}, row {number}"
            yield normalise(kind, rename(record, mapping, where) if mapping else record, where)
    if not number:
        raise Problem(f"{name}: holds no rows", "Give data with rows; in a folder, remove the empty file.")


def _records(table: Any, name: str, before: int) -> list[dict[str, Any]]:
    """Turn one table into records; ``before`` rows came earlier."""
    names = table.schema.names
    # A record would silently keep the last of them.
    twice = [column for column, count in Counter(names).items() if count > 1]
    if twice:
        raise Problem(f"{name}: has several columns called '{twice[0]}'", "Rename or remove all but one of them.")
    columns = [_values(column, field, name, before) for field, column in zip(names, table.itercolumns(), strict=True)]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: Any, field: str, name: str, before: int) -> list[Any]:
    """Turn one column into Python objects; raises a ``Problem`` that names the row which cannot be one."""
    try:
        return _as_python(column)
    except Exception as error:  # What dozens of types raise: bytes that are not UTF-8, years that Python does not have
        place = next((row for row in range(len(column)) if _is_bad(column.slice(row, 1))), 0)
        raise Problem(
            f"{name}, row {before + place + 1}: field '{field}' cannot be read as {column.type} "
            f"({' '.join(str(error).split())})",
            "Mend or remove the row; or write the data out again without that column, if it is not needed.",
        ) from error


def _is_bad(column: Any) -> bool:
    try:
        _as_python(column)
    except Exception:
        return True
    return False


def _as_python(column: Any) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return [_parsed(value, column.type) for value in values] if _holds_json(column.type) else values


# The hub's library writes a field that is a text in one row and a list in another as JSON inside a column, and
# `negative` may be such a field. Taken as it stands, '"a text"' would be trained on with its quotation marks.


def _is_json(kind: Any) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.json"


def _holds_json(kind: Any) -> bool:
    """Whether values of this Arrow type are JSON or have some inside."""
    return _is_json(kind) or any(_holds_json(kind.field(i).type) for i in range(kind.num_fields))


def _parsed(value: Any, kind: Any) -> Any:
    """Parse the JSON in a value of this Arrow type."""
    if value is None:
        return None
    if _is_json(kind):
        return json.loads(value)
    if isinstance(value, dict):
        return {key: _parsed(value[key], kind.field(key).type) for key in value}
    if isinstance(value, list):
        return [_parsed(item, kind.field(0).type) for item in value]
    return value
