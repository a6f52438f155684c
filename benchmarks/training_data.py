"""Training data ready to be spent: one kind, cleaned, in the order of a seed; a budget takes the first rows.

A row is dropped for the first of these reasons that holds: another row has the same content, one of its texts stands in
a test set, or (instruct data) another row with the same context stays. Which rows stay is a function of the rows alone,
neither of their order in the file nor of the seed, so every seed shuffles the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from benchmarks.budget import largest_short_form
from benchmarks.kinds import kind_of, texts_of
from benchmarks.order import digest, example_id, ordered, rank
from benchmarks.overlap import HeldOutSentences, Overlap
from benchmarks.sources import read_rows
from genembench.problem import Problem

Row = dict[str, Any]

_REASONS = ("duplicate", "same_context", "overlap_exact", "overlap_normalised")
_IN_WORDS = {
    "duplicate": "duplicates",
    "same_context": "with the context of another row",
    "overlap_exact": "with a sentence of a test set",
    "overlap_normalised": "with a sentence of a test set but for case and punctuation",
}


@dataclass(frozen=True)
class TrainingData:
    """Rows of one kind in the order of a seed.

    Args:
        kind: One of ``benchmarks.kinds.KINDS``.
        path: Where they were read, for messages and records; a dataset of the hub with its commit.
        ids: The name of each row (see :func:`benchmarks.order.example_id`), in order.
        rows: The rows, in the same order.
        dropped: Rows left out, by reason; always the keys ``duplicate``, ``same_context``, ``overlap_exact`` and
            ``overlap_normalised``.
        read: Rows in the source.
        seed: The seed of the order.
    """

    kind: str
    path: str
    ids: tuple[str, ...]
    rows: tuple[Row, ...]
    dropped: dict[str, int]
    read: int
    seed: int

    def __len__(self) -> int:
        """Return the number of rows held."""
        return len(self.ids)

    @property
    def usable(self) -> int:
        """Rows of the file that were not dropped; above ``len`` where only the first were taken."""
        return self.read - sum(self.dropped.values())

    @property
    def address(self) -> str:
        """SHA-256, in hexadecimal, of the ids in order: equal data in equal order, and only that, is equal here."""
        return digest(self.ids)

    def take(self, n: int) -> TrainingData:
        """Return the first ``n`` rows; ``dropped`` and ``read`` still tell of the whole file.

        Raises:
            Problem: There are fewer than ``n``.
            ValueError: ``n`` is negative.
        """
        if n < 0:
            raise ValueError(f"cannot take {n} rows")
        if n > len(self):
            raise self._too_few(n)
        return replace(self, ids=self.ids[:n], rows=self.rows[:n])

    def _too_few(self, n: int) -> Problem:
        of_file = f"usable rows of {self.path} ({self.read:,} read, {_dropped_in_words(self.dropped)})"
        have = of_file if len(self) == self.usable else f"rows taken from the {self.usable:,} {of_file}"
        largest = len(self)
        return Problem(
            f"a budget of {n:,} {kind_of(self.kind).noun} is above the {largest:,} {have}",
            f"The largest possible: --budget {self.kind}={largest}, or in the short form "
            f"--budget {largest_short_form(self.kind, largest)}; or give a larger file with {kind_of(self.kind).flag}.",
        )


def load_training_data(
    kind: str,
    source: str | PathLike[str],
    *,
    mapping: Mapping[str, str],
    seed: int,
    held_out: HeldOutSentences | None,
    one_per_context: bool = True,
) -> TrainingData:
    """Read a source, drop what must not be trained on, and put the rest in the order of ``seed``.

    Args:
        kind: One of ``benchmarks.kinds.KINDS``.
        source: What :func:`benchmarks.sources.read_rows` reads: JSON lines, Parquet, a folder of either, or
            ``hf:OWNER/NAME``. Only the rows count: the same ones in another format give the same ``address``.
        mapping: Our field to the source's field; empty if they are the same.
        seed: Decides the order, not the rows.
        held_out: Sentences of test sets; None keeps rows that share a sentence with them.
        one_per_context: For instruct data, keep one row of each different context.

    Raises:
        Problem: The source cannot be used or every row was dropped.
    """
    dropped = dict.fromkeys(_REASONS, 0)
    read = 0
    kept: dict[str, Row] = {}
    given = read_rows(source, kind, mapping)
    for row in given.rows:
        read += 1
        name = example_id(kind, row)
        if name in kept:
            dropped["duplicate"] += 1
            # Copies can differ in extra fields, which a method may read: choose by content, not by place in the file.
            kept[name] = min(kept[name], row, key=_as_json)
        else:
            kept[name] = row
    if held_out is not None:
        for name in list(kept):
            overlap = _overlap(texts_of(kind, kept[name]), held_out)
            if overlap:
                dropped[f"overlap_{overlap}"] += 1
                del kept[name]
    # After the overlap: a context whose first choice was dropped can still be trained on through another row.
    if kind == "instruct" and one_per_context:
        before = len(kept)
        kept = _one_per_context(kept)
        dropped["same_context"] = before - len(kept)
    if not kept:
        raise Problem(
            f"{given.path}: none of the {read:,} {kind_of(kind).noun} is left ({_dropped_in_words(dropped)})",
            "Give other data: rows with a sentence of the benchmark would make its scores worthless.",
        )
    names = tuple(kept)
    whole = TrainingData(kind, given.path, names, tuple(kept.values()), dropped, read, seed)
    return with_seed(whole, seed)


def with_seed(data: TrainingData, seed: int) -> TrainingData:
    """Return the same rows in the order of another seed, without reading the file again.

    Raises:
        ValueError: ``data`` is what ``take`` returned. Its rows were chosen by its own seed; reordered they would not
            be the first rows of the other seed's order, and budgets would no longer be nested.
    """
    if len(data) != data.usable:
        raise ValueError("change the seed of the whole data, then take the first rows")
    order = ordered(data.ids, seed)
    return replace(data, ids=tuple(data.ids[i] for i in order), rows=tuple(data.rows[i] for i in order), seed=seed)


def _overlap(texts: list[str], held_out: HeldOutSentences) -> Overlap | None:
    """Return the strongest match of any text."""
    found = {held_out.match(text) for text in texts}
    if "exact" in found:
        return "exact"
    return "normalised" if "normalised" in found else None


def _one_per_context(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Keep the row of each context that comes first under a fixed key.

    The key is not the seed: seeds then differ in order only, and the same rows can be reordered without reading the
    file again. It is not the place in the file either: "the first question" of a data set is often its easiest.
    """
    chosen: dict[str, str] = {}
    for name in rows:
        context = rows[name]["context"]
        chosen[context] = min(chosen.get(context, name), name, key=lambda each: rank("one row per context", each))
    return {name: rows[name] for name in chosen.values()}


def _as_json(row: Row) -> str:
    # Extra columns of Parquet may hold what JSON does not have, such as times and bytes.
    return json.dumps(row, sort_keys=True, default=str)


def _dropped_in_words(dropped: Mapping[str, int]) -> str:
    total = sum(dropped.values())
    parts = [f"{count:,} {_IN_WORDS[reason]}" for reason, count in dropped.items() if count]
    return f"{total:,} dropped: {', '.join(parts)}" if total else "none dropped"
