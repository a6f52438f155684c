"""Refuses, or marks, what was not run under the same conditions as the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from genembench.problem import Problem
from leaderboard.records import Record
from leaderboard.rows import config_text

SIGNS = "†‡§¶"


@dataclass(frozen=True)
class Marks:
    """Which runs stand in a table only because somebody asked for it.

    Attributes:
        signs: The sign of each such run, by its id.
        notes: What each sign means, in the order of first use.
    """

    signs: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


class _Condition(NamedTuple):
    """What must be equal: what it is called, for which records it must be, its address, and how people call it."""

    what: str
    key: Hashable
    address: str
    shown: str


def refuse_incomparable(records: Iterable[Record]) -> None:
    """Raise a Problem that names two runs and what differs, if any two of the records must not share a table.

    Records must agree on the backbone (finished models have none), on the benchmark with its data, and, where they were
    given the same amount of one kind of data under one seed, on which examples those were. One method with the same
    settings, budget and seed may have only one score.
    """
    seen: dict[Hashable, tuple[_Condition, Record]] = {}
    for record in sorted(records, key=lambda record: record.run):
        for each in _conditions(record):
            expected, first = seen.setdefault((each.what, each.key), (each, record))
            if expected.address != each.address:
                raise Problem(
                    f"runs '{first.run}' and '{record.run}' are not comparable: they differ in {each.what} "
                    f"({_told_apart(expected, each)})",
                    "Build one leaderboard for each, leave one of the two out, or give `genembench leaderboard build` "
                    "--mixed: then the smaller part is marked and takes part in no rank and no test.",
                )


def mark_incomparable(records: Iterable[Record]) -> Marks:
    """Give every run that does not share the conditions of most others a sign and say what is different.

    One condition after the other (backbone, benchmark, data, one run a cell) the value that most of the records not
    yet marked have is the table's; the first run by its id decides between equally many.
    """
    rest = sorted(records, key=lambda record: record.run)
    differences: dict[str, list[str]] = {}
    # Whatever a record lacks (a failed run has no benchmark) cannot be different.
    for what in ("the backbone", "the benchmark", "the data", "the run"):
        held = {record.run: [each for each in _conditions(record) if each.what.startswith(what)] for record in rest}
        usual = _usual([each for record in rest for each in held[record.run]])
        for record in rest:
            odd = [each for each in held[record.run] if usual[each.what, each.key] != each.address]
            if odd:
                differences[record.run] = [f"{each.what} ({each.shown})" for each in odd]
        rest = [record for record in rest if record.run not in differences]
    signs: dict[str, str] = {}
    used: dict[str, str] = {}
    fresh = _signs()
    for run, odd_ones in sorted(differences.items()):
        text = "differs in " + " and ".join(odd_ones)
        if text not in used:
            used[text] = next(fresh)
        signs[run] = used[text]
    return Marks(signs, {sign: text for text, sign in used.items()})


def _usual(conditions: Sequence[_Condition]) -> dict[tuple[str, Hashable], str]:
    """Return the most frequent address of every condition, the first one among equally frequent ones."""
    counted: dict[tuple[str, Hashable], Counter[str]] = {}
    for each in conditions:
        counted.setdefault((each.what, each.key), Counter())[each.address] += 1
    return {key: addresses.most_common(1)[0][0] for key, addresses in counted.items()}


def _signs() -> Iterator[str]:
    """Yield †, ‡, §, ¶, ††, ..."""
    for times in count(1):
        yield from (sign * times for sign in SIGNS)


def _conditions(record: Record) -> Iterator[_Condition]:
    """Yield what the record must share with others."""
    if record.backbone:
        yield _Condition("the backbone", None, record.backbone.address, record.backbone.name)
    # A run that failed early may not have come as far as hashing a benchmark or data; it has no row to compare anyway.
    if not record.done:
        return
    tasks = f"{record.benchmark.name}, {len(record.benchmark.tasks)} tasks"
    yield _Condition("the benchmark", None, record.benchmark.address, tasks)
    for kind, data in sorted(record.data.items()):
        share = _share(record.budget.asked, kind, data.unique, record.seed)
        yield _Condition(f"the data of kind '{kind}'", (kind, share), data.address, f"{data.unique:,} rows")
    cell = (record.method.name, config_text(record), record.budget.label, record.seed)
    what = f"the run of {record.method.name}, budget {record.budget.label}, seed {record.seed}"
    yield _Condition(what, cell, record.run, record.run)


def _share(asked: Mapping[str, float], kind: str, unique: int, seed: int) -> Hashable:
    """Return which data must be the same: that of one seed and one amount.

    The amount is what was asked of the kind, so that a file with fewer rows is noticed. A budget in tokens or seconds
    asks for no number of examples; there, equally many examples must be the same ones, as budgets are nested.
    """
    return ("asked", asked[kind], seed) if kind in asked else ("unique", unique, seed)


def _told_apart(first: _Condition, second: _Condition) -> str:
    """Show both values, by name, and by address where the names are the same."""
    if first.shown != second.shown:
        return f"{first.shown} and {second.shown}"
    return f"{first.shown}, {_short(first.address)} and {_short(second.address)}"


def _short(address: str) -> str:
    """Show enough of an address to tell it from another."""
    return address if len(address) <= 40 else f"{address[:12]}…"
