"""The four kinds of training data: which fields a record has, and what is wrong with one that does not have them.

Nothing here reads files; :mod:`benchmarks.files` does. A record is one JSON object; a *row* is a record that passed
:func:`normalise`. Fields that a kind does not know are carried along untouched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from genembench.problem import Problem, near_misses, unknown


@dataclass(frozen=True)
class Kind:
    """One kind of training data: its ``name`` and the ``fields`` that every record must have."""

    name: str
    fields: tuple[str, ...]

    @property
    def flag(self) -> str:
        """The command-line flag that takes a file of this kind, such as ``--triplets``."""
        return f"--{self.name}"

    @property
    def noun(self) -> str:
        """What to call several of them after a number: "triplets", "pairs", "instruct rows", "text rows"."""
        return self.name if self.name.endswith("s") else f"{self.name} rows"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("triplets", ("query", "positive", "negative")),
        Kind("instruct", ("context", "instruction", "target")),
        Kind("pairs", ("query", "document")),
        Kind("text", ("text",)),
    )
}

# Only this field may hold several texts; rows always hold it as a list, so that no method has to look.
_LIST_FIELD = "negative"
_FIELDS_SHOWN = 12


def kind_of(name: str) -> Kind:
    """Return the kind called ``name``; raises a ``Problem`` with near misses if there is none."""
    if name not in KINDS:
        raise unknown("data kind", name, KINDS)
    return KINDS[name]


def normalise(kind: str, record: object, where: str) -> dict[str, Any]:
    """Check one parsed JSON value and return it as a row of ``kind``.

    Args:
        kind: One of ``KINDS``.
        record: What the JSON parser returned for the line; it is not changed.
        where: File and line for the error message, such as ``"nli.jsonl.gz, line 17"``.

    Returns:
        All fields of ``record`` as they are, except ``negative`` of triplets, which is always a list of strings.

    Raises:
        Problem: ``record`` is no object, lacks a field of the kind, or has one that is not text.
    """
    spec = kind_of(kind)
    if not isinstance(record, dict):
        raise Problem(
            f"{where}: expected a JSON object for {kind} data, got {_json_type(record)}",
            f"Each line is one object with the fields {', '.join(spec.fields)}.",
        )
    missing = [field for field in spec.fields if field not in record]
    if missing:
        raise _missing_fields(spec, missing, record, where)
    row: dict[str, Any] = record
    for field in spec.fields:
        value = record[field]
        if field == _LIST_FIELD and isinstance(value, str):
            row = {**record, field: [value]}
        # An empty list goes on to be refused as one "bad" value: a triplet without a negative is not a triplet.
        texts = value if field == _LIST_FIELD and isinstance(value, list) and value else [value]
        for text in texts:
            fault = _fault(text)
            if fault:
                raise Problem(f"{where}: field '{field}' is {fault}", _field_hint(spec, field, record))
    return row


def texts_of(kind: str, row: Mapping[str, Any]) -> list[str]:
    """Return the texts of a row that must not stand in a test set.

    Every text field counts except the instruction of instruct data, which is the same few prompts over and over.
    """
    kind_of(kind)
    if kind == "triplets":
        return [row["query"], row["positive"], *row["negative"]]
    if kind == "instruct":
        return [row["context"], row["target"]]
    if kind == "pairs":
        return [row["query"], row["document"]]
    return [row["text"]]


def fields_listed(fields: Collection[str]) -> str:
    """Name the fields of a foreign record for an error message: all of them, or the first twelve and how many more."""
    names = [name if len(name) <= 40 else f"{name[:37]}..." for name in list(fields)[:_FIELDS_SHOWN]]
    more = f" and {len(fields) - _FIELDS_SHOWN} more" if len(fields) > _FIELDS_SHOWN else ""
    return f"{', '.join(names)}{more}" if names else "none"


def likely_source(field: str, candidates: Collection[str]) -> str | None:
    """Return the field of a foreign file that probably holds our ``field``, or None."""
    # Asked in both directions: "pos" is inside "positive", and "positive" is inside "positive_text".
    close = near_misses(field, candidates) or [name for name in candidates if name and near_misses(name, [field])]
    return close[0] if close else None


def _missing_fields(spec: Kind, missing: list[str], record: Mapping[str, Any], where: str) -> Problem:
    """Build the problem for absent fields: another kind's record, or foreign field names, or both."""
    noun = "field" if len(missing) == 1 else "fields"
    what = (
        f"{where}: {spec.name} data needs the {noun} {', '.join(missing)} "
        f"(expected: {', '.join(spec.fields)}; got: {fields_listed(record)})"
    )
    sources = {field: likely_source(field, record) for field in missing}
    remedy = " ".join(f"--map {field}={source or 'THEIR_FIELD'}" for field, source in sources.items())
    for other in KINDS.values():
        if other is not spec and all(field in record for field in other.fields):
            return Problem(
                what, f"It looks like {other.name} data: pass it with {other.flag}. Or name the {noun} with {remedy}."
            )
    found = [f"'{source}' for '{field}'" for field, source in sources.items() if source]
    meant = f"Did you mean {', '.join(found)}? " if found else ""
    example = f" (as in --map {missing[0]}=pos)" if "THEIR_FIELD" in remedy else ""
    return Problem(what, f"{meant}If the file calls the {noun} otherwise, say so with {remedy}{example}.")


def _field_hint(spec: Kind, field: str, record: Mapping[str, Any]) -> str:
    shape = "text, or a list of one or more texts" if field == _LIST_FIELD else "text"
    return (
        f"'{field}' of {spec.name} data is {shape}. Mend or remove the line, or take another field with "
        f"--map {field}=THEIR_FIELD (as in --map positive=pos; the record has: {fields_listed(record)})."
    )


def _fault(value: object) -> str:
    """Say what keeps ``value`` from being a text, or return an empty string."""
    if not isinstance(value, str):
        return f"{_json_type(value)}, not text"
    if not value.strip():
        return "blank"
    try:
        # JSON can spell half of a surrogate pair ("\ud83d"); tokenizers crash on it hours later, far from the line.
        value.encode()
    except UnicodeEncodeError:
        return "not valid Unicode: it holds half of a surrogate pair"
    return ""


def _json_type(value: object) -> str:
    """Name the JSON type of a parsed value in the user's words."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", dict: "an object"}
    return names.get(type(value), type(value).__name__)
