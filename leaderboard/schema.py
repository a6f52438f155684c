"""Reads plain JSON into typed dataclasses and says exactly which field is wrong.

The dataclass is the schema: a key it lacks is foreign, a field without a key is missing, and neither is forgiven.
A record that is half understood would be compared as if it were understood.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from genembench.problem import Problem

T = TypeVar("T")
HINT = "A record is written by one version of genembench and never edited; run it again or leave this folder out."


def wrong(source: Path, field: str, what: str) -> Problem:
    """Build the problem "this field of this file cannot be used"."""
    return Problem(f"{source}: field '{field}' {what}", HINT)


def parse(kind: type[T], value: object, source: Path, field: str = "") -> T:
    """Turn a JSON object into the dataclass ``kind``, checking every field on the way.

    Args:
        kind: The dataclass to build; its annotations are the schema.
        value: What ``json.loads`` returned.
        source: The file it came from, for the message.
        field: Where in the file ``value`` stands, for the message; empty at the top.
    """
    if not isinstance(value, dict):
        raise wrong(source, field or "(top)", f"should be an object, got {_short(value)}")
    hints = typing.get_type_hints(kind)
    wanted = [item.name for item in dataclasses.fields(kind) if item.init]  # type: ignore[arg-type]
    at = f"{field}." if field else ""
    for name in wanted:
        if name not in value:
            raise wrong(source, f"{at}{name}", "is missing")
    for name in value:
        if name not in wanted:
            raise wrong(source, f"{at}{name}", "is not one that a record has")
    return kind(**{name: _convert(hints[name], value[name], source, f"{at}{name}") for name in wanted})


def _convert(hint: Any, value: object, source: Path, field: str) -> Any:
    """Check one value against one annotation; lists become tuples, objects stay mappings or become dataclasses."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType:  # only ever "something or null"
        return None if value is None else _convert(arguments[0], value, source, field)
    if origin is tuple:
        if not isinstance(value, list):
            raise wrong(source, field, f"should be a list, got {_short(value)}")
        return tuple(_convert(arguments[0], item, source, f"{field}[{at}]") for at, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise wrong(source, field, f"should be an object, got {_short(value)}")
        return {key: _convert(arguments[1], item, source, f"{field}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type[Any], hint), value, source, field)
    return _scalar(hint, value, source, field)


def _scalar(hint: type[Any], value: object, source: Path, field: str) -> object:
    """Check a string, truth value or number; a whole number may stand for a float, a truth value for nothing else."""
    accepted: tuple[type, ...] = (int, float) if hint is float else (hint,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
        raise wrong(source, field, f"should be {names[hint]}, got {_short(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong(source, field, f"should be a finite number, got {value}")
    return value


def _short(value: object) -> str:
    """Show a value in a message without flooding it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
