"""A benchmark of one's own, described in a TOML, YAML or JSON file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genembench.problem import Problem
from genembench.settings import read_settings, refuse_unknown

_KEYS = ("name", "tasks", "pairs", "data_dir", "averages")
_EXAMPLE = (
    "For example: tasks: [STS16, tickets], pairs: {tickets: tickets.jsonl}, averages: {Mean: [STS16, tickets]}; "
    "a line of the pairs is an object with sentence1, sentence2 and score."
)


@dataclass(frozen=True)
class BenchmarkFile:
    """What such a file says; paths in it are relative to the file.

    Attributes:
        name: ``name``, or the file's name without its ending.
        tasks: ``tasks``, then every task of ``pairs`` that is not among them.
        pairs: Files of sentence pairs with gold scores, by the name of the task that each is.
        data_dir: Folder with the pairs of mteb's STS tasks.
        averages: Name of each average to its tasks; None where the file says nothing of them.
    """

    name: str
    tasks: tuple[str, ...]
    pairs: Mapping[str, Path]
    data_dir: Path | None
    averages: Mapping[str, tuple[str, ...]] | None


def read_benchmark_file(file: Path) -> BenchmarkFile:
    """Read the file.

    Raises:
        Problem: It cannot be read, has an unknown key, or says something that is no benchmark.
    """
    values = read_settings(file, "--benchmark")
    refuse_unknown(values, _KEYS, f"key in {file}:")
    tasks = _words(values.get("tasks", []), f"tasks in {file}")
    given: dict[str, Any] = _table(values.get("pairs", {}), f"pairs in {file}")
    pairs = {}
    for task, path in given.items():
        if not isinstance(path, str) or not path:
            raise Problem(f"pairs in {file}: the file of '{task}' is not a path: {path!r}", _EXAMPLE)
        # The name becomes a file name (predictions) and a class name in mteb.
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", task):
            raise Problem(f"pairs in {file}: '{task}' cannot name a task", "Letters, digits, '_', '.' and '-'.")
        pairs[task] = file.parent / path
    tasks = tuple(dict.fromkeys((*tasks, *pairs)))
    if not tasks:
        raise Problem(f"{file} names no task", _EXAMPLE)
    averages = None
    if "averages" in values:
        table = _table(values["averages"], f"averages in {file}")
        averages = {name: _words(value, f"average {name} in {file}") for name, value in table.items()}
        for name, over in averages.items():
            if not over:
                raise Problem(f"average {name} in {file} has no task", _EXAMPLE)
            refuse_unknown(over, tasks, f"task of the average {name} in {file}:")
    data_dir = values.get("data_dir")
    if data_dir is not None and not isinstance(data_dir, str):
        raise Problem(f"data_dir in {file} is not a path: {data_dir!r}", _EXAMPLE)
    where = None if data_dir is None else file.parent / data_dir
    name = values.get("name", file.stem)
    if not isinstance(name, str) or not name.strip():
        raise Problem(f"name in {file} is no name: {name!r}", _EXAMPLE)
    return BenchmarkFile(name, tasks, pairs, where, averages)


def _words(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise Problem(f"{where}: expected a list of task names, got {value!r}", _EXAMPLE)
    return tuple(dict.fromkeys(value))


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Problem(f"{where}: expected a table, got {value!r}", _EXAMPLE)
    return {str(key): each for key, each in value.items()}
