"""What an encoder said of every pair of a task: ``predictions/TASK.csv`` of a run's folder or of a course point's."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genembench.problem import Problem

FOLDER = "predictions"
PAIRS = ["pair", "gold", "score"]
QUERIES = ["query", "score"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one task in the order of the file.

    Attributes:
        file: Where they stand.
        ids: Of each pair or query, no two the same ``[n]``.
        gold: Gold score of each pair, on the task's scale ``[n]``; None for queries.
        scores: Cosine of each pair, or score of each query from 0 to 1 ``[n]``.
    """

    file: Path
    ids: tuple[str, ...]
    gold: NDArray[np.float64] | None
    scores: NDArray[np.float64]

    @cached_property
    def address(self) -> str:
        """Hash of the ids and gold scores in their order: predictions with the same one are of the same pairs."""
        found = hashlib.sha256("\n".join(self.ids).encode())
        found.update(b"" if self.gold is None else b"\n\n" + self.gold.astype("<f8").tobytes())
        return found.hexdigest()


def read_predictions(folder: Path, task: str) -> Predictions | None:
    """Read ``folder/predictions/TASK.csv``; return None where there is no such file.

    Args:
        folder: A run's folder or a point's.
        task: Name of the task.

    Raises:
        Problem: the file is damaged; names the line.
    """
    file = folder / FOLDER / f"{task}.csv"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(file, f"cannot be read: {error}") from None
    # All at once, as nearly always nothing is wrong; which line it is matters only where something is.
    found = _parse(file, text)
    if found is None:
        raise _fault(file, text)
    return found


def _parse(file: Path, text: str) -> Predictions | None:
    """Parse a whole file; None where anything is wrong."""
    try:
        header, *lines = csv.reader(io.StringIO(text), strict=True)
        ids, *columns = zip(*lines, strict=True)
        numbers = np.array([list(map(float, column)) for column in columns])
    except (csv.Error, ValueError):
        return None
    if header not in (PAIRS, QUERIES) or len(columns) != len(header) - 1:
        return None
    if len(set(ids)) < len(ids) or "" in ids or not np.isfinite(numbers).all():
        return None
    if header == PAIRS:
        return Predictions(file, ids, *numbers)
    return Predictions(file, ids, None, numbers[0]) if ((numbers >= 0) & (numbers <= 1)).all() else None


def _fault(file: Path, text: str) -> Problem:
    """Find the first line that is wrong."""
    lines = _numbered(text)
    header = next(lines, (0, []))[1]
    if header not in (PAIRS, QUERIES):
        began = ",".join(header)[:80]
        return _damaged(file, f"begins with '{began}', not with '{','.join(PAIRS)}' or '{','.join(QUERIES)}'")
    seen: dict[str, int] = {}
    for at, fields in lines:
        wrong = _wrong(header, fields)
        if wrong:
            return _damaged(file, f"line {at}{wrong}")
        if (first := seen.setdefault(fields[0], at)) != at:
            return _damaged(file, f"lines {first} and {at} both are {header[0]} '{fields[0]}'")
    return _damaged(file, "holds no predictions")


def _numbered(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each line with its number, counted from 1; what is no CSV as one field that fits nowhere."""
    reader = csv.reader(io.StringIO(text), strict=True)
    while True:
        at = reader.line_num + 1
        try:
            yield at, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield at, [f"not CSV ({error})"]


def _wrong(header: Sequence[str], fields: Sequence[str]) -> str:
    """Say what is wrong with a line; empty where nothing is."""
    if len(fields) != len(header):
        return f" is not {len(header)} fields, but {len(fields)}: {','.join(fields)[:80]!r}"
    if not fields[0]:
        return " has no id"
    for name, field in zip(header[1:], fields[1:], strict=True):
        try:
            value = float(field)
        except ValueError:
            return f": {name} is no number: {field[:80]!r}"
        if not np.isfinite(value):
            return f": {name} is {field}, not a finite number"
        if header == QUERIES and not 0 <= value <= 1:
            return f": {name} is {field}, not from 0 to 1"
    return ""


def _damaged(file: Path, what: str) -> Problem:
    """Build the problem "this file is damaged"."""
    return Problem(f"{file} {what}", "Run it again, or delete the file: its task then has no interval.")
