"""Sentence pairs with gold scores from JSON lines, so that the STS tasks can be run without the hub."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from genembench.problem import Problem

if TYPE_CHECKING:
    from mteb import AbsTask

_FORM = 'Each line is {"sentence1": string, "sentence2": string, "score": number}; other fields are ignored.'


class StsPair(NamedTuple):
    """Two sentences and how alike people found them, on the task's own scale (0 to 5 for most)."""

    sentence1: str
    sentence2: str
    score: float


def find_pairs(folder: Path, task: str) -> Path | None:
    """Return a task's test file, ``<task>.test.jsonl`` or else ``<task>.test.jsonl.gz``; None without either."""
    for ending in ("jsonl", "jsonl.gz"):
        path = folder / f"{task}.test.{ending}"
        if path.is_file():
            return path
    return None


def read_pairs(path: Path) -> list[StsPair]:
    """Read every pair of a JSON lines file, gzip-compressed if its name ends in ``.gz``. Empty lines are passed over.

    Raises:
        Problem: The file cannot be read, holds no pair, or a line is not a pair; the line is named.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error}") from error
    return list(_read(path, found.st_ino, found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=16)
def _read(path: Path, inode: int, changed: int, size: int) -> tuple[StsPair, ...]:
    """Read a file once for its address, its texts and its task; one that was written again is another to the cache."""
    pairs = tuple(_parse(line, f"{path}, line {number}") for number, line in _lines(path) if line.strip())
    if not pairs:
        raise Problem(f"{path} holds no sentence pairs", _FORM)
    return pairs


def fill_task(task: AbsTask, path: Path) -> None:
    """Put a file's pairs into an STS task in the shape in which mteb would have loaded them from the hub.

    Raises:
        Problem: The file cannot be used, or the task has several subsets.
    """
    from datasets import Dataset, DatasetDict

    if len(task.hf_subsets) != 1:
        raise Problem(
            f"{task.metadata.name} has {len(task.hf_subsets)} subsets, {path} is one", "Leave out --data-dir."
        )
    first, second = getattr(task, "column_names", ("sentence1", "sentence2"))
    pairs = read_pairs(path)
    columns = zip((first, second, "score"), zip(*pairs, strict=True), strict=True)
    rows = Dataset.from_dict({name: list(values) for name, values in columns})
    task.dataset = {task.hf_subsets[0]: DatasetDict(test=rows)}
    task.data_loaded = True


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as file
        ):
            for number, line in enumerate(file, start=1):
                yield number, line
    except UnicodeDecodeError as error:
        raise Problem(f"{path}, after line {number}: not UTF-8 text ({error.reason})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise Problem(f"{path} cannot be read: {error}") from error


def _parse(line: str, place: str) -> StsPair:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise Problem(f"{place}: not JSON ({error.msg})", _FORM) from error
    if not isinstance(row, dict):
        raise Problem(f"{place}: not a JSON object", _FORM)
    missing = [field for field in StsPair._fields if field not in row]
    if missing:
        raise Problem(f"{place}: no field {' and no field '.join(missing)}", _FORM)
    for field in ("sentence1", "sentence2"):
        if not _is_text(row[field]):
            raise Problem(f"{place}: {field} is not text: {row[field]!r}", _FORM)
    score = row["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise Problem(f"{place}: score is not a number: {score!r}", _FORM)
    return StsPair(row["sentence1"], row["sentence2"], float(score))


def _is_text(value: object) -> bool:
    """Whether ``value`` is a string that UTF-8 can hold: JSON can spell half a character, tokenizers cannot read it."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
