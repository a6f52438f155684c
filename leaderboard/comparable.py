"""Refuses to put side by side what was not run under the same conditions."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping

from genembench.problem import Problem
from leaderboard.records import Record
from leaderboard.rows import config_text


def refuse_incomparable(records: Iterable[Record]) -> None:
    """Raise a Problem that names two runs and what differs, if any two of the records must not share a table.

    Records must agree on the backbone (finished models have none), on the benchmark with its data, and, where they were
    given the same amount of one kind of data under one seed, on which examples those were. One method with the same
    settings, budget and seed may have only one score.
    """
    seen: dict[Hashable, tuple[str, Record]] = {}
    for record in sorted(records, key=lambda record: record.run):
        for what, key, address in _conditions(record):
            first_address, first = seen.setdefault((what, key), (address, record))
            if first_address != address:
                raise Problem(
                    f"runs '{first.run}' and '{record.run}' are not comparable: they differ in {what} "
                    f"({_short(first_address)} and {_short(address)})",
                    "Build one leaderboard for each, or leave one of the two out.",
                )


def _conditions(record: Record) -> Iterator[tuple[str, Hashable, str]]:
    """Yield what must be equal: what it is called, for which records it must be equal, and its address."""
    if record.backbone:
        yield "the backbone", None, record.backbone.address
    # A run that failed early may not have come as far as hashing a benchmark or data; it has no row to compare anyway.
    if not record.done:
        return
    yield "the benchmark", None, record.benchmark.address
    for kind, data in sorted(record.data.items()):
        yield f"the data of kind '{kind}'", _share(record.budget.asked, kind, data.unique, record.seed), data.address
    cell = (record.method.name, config_text(record), record.budget.label, record.seed)
    yield f"the run of {record.method.name}, budget {record.budget.label}, seed {record.seed}", cell, record.run


def _share(asked: Mapping[str, float], kind: str, unique: int, seed: int) -> Hashable:
    """Return which data must be the same: that of one seed and one amount.

    The amount is what was asked of the kind, so that a file with fewer rows is noticed. A budget in tokens or seconds
    asks for no number of examples; there, equally many examples must be the same ones, as budgets are nested.
    """
    return ("asked", asked[kind], seed) if kind in asked else ("unique", unique, seed)


def _short(address: str) -> str:
    """Show enough of an address to tell it from another."""
    return address if len(address) <= 40 else f"{address[:12]}…"
