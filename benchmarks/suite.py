"""Which tasks a benchmark is, where their data come from, and what they are worth checking for before a run."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.averages import STS_TASKS
from benchmarks.hub import hub_out_of_reach, load_from_hub
from benchmarks.sts_files import fill_task, find_pairs, read_pairs
from genembench.problem import Problem, did_you_mean, unknown

if TYPE_CHECKING:
    from mteb import AbsTask

_SPECS = "'sts' is the ten English STS tasks; 'mteb:TASK[,TASK...]' is any text tasks of MTEB"


@dataclass(frozen=True)
class Benchmark:
    """Named MTEB tasks and where their data come from: files in ``data_dir``, or the hub where that is None."""

    name: str
    tasks: tuple[str, ...]
    data_dir: Path | None = None

    def check(self) -> None:
        """Find out cheaply, before anything is trained, whether every task's data can be had.

        Raises:
            Problem: A task has no file in ``data_dir``, or the hub is out of reach and its cache lacks a task.
        """
        if self.data_dir is None:
            for task in self.tasks if hub_out_of_reach() else ():
                self.load_task(task)
            return
        if not self.data_dir.is_dir():
            raise Problem(
                f"no data folder {self.data_dir}", "It holds <Task>.test.jsonl or <Task>.test.jsonl.gz files."
            )
        missing = [task for task in self.tasks if find_pairs(self.data_dir, task) is None]
        if missing:
            raise Problem(
                f"{self.data_dir} has no test pairs of {', '.join(missing)}",
                f"Add {' and '.join(f'{task}.test.jsonl(.gz)' for task in missing)}, or leave them out with "
                f"--skip-tasks {','.join(missing)}.",
            )

    def texts(self) -> Iterator[str]:
        """Yield every test text of every task (repeats included), for keeping training data apart from test data.

        Raises:
            Problem: A task's data cannot be had.
        """
        for task in self.tasks:
            if self.data_dir is not None:
                for pair in read_pairs(self._file(task)):
                    yield from (pair.sentence1, pair.sentence2)
            else:
                loaded = self.load_task(task)
                yield from _strings(loaded.dataset, loaded.eval_splits)

    def neighbourhood(self) -> Benchmark:
        """Return the benchmark whose sentences to keep out of training data.

        From files these are all the STS tasks that are there, chosen or not: another choice of tasks then leaves the
        training data, and so what is trained already, as they are. From the hub only what was chosen is loaded.
        """
        if self.data_dir is None:
            return self
        folder = self.data_dir
        there = [task for task in STS_TASKS if task in self.tasks or find_pairs(folder, task) is not None]
        return Benchmark(self.name, (*there, *(task for task in self.tasks if task not in STS_TASKS)), folder)

    @cached_property
    def address(self) -> str:
        """Content hash of task names and data, whatever the order of the tasks."""
        return _hashed(sorted(self.task_address(task) for task in self.tasks))

    def task_address(self, task: str) -> str:
        """Content hash of one task: its pairs (files), or its data set, revision, subsets and splits (hub)."""
        if self.data_dir is not None:
            return _hashed([task, "pairs", read_pairs(self._file(task))])
        loaded = _open_task(task)
        return _hashed([task, "hub", dict(loaded.metadata.dataset), loaded.hf_subsets, list(loaded.eval_splits)])

    def load_task(self, name: str) -> AbsTask:
        """Return mteb's own task object with its data in it.

        Raises:
            Problem: The task is none of this benchmark's, or its data cannot be had.
        """
        from benchmarks.mteb_adapter import quiet_mteb

        if name not in self.tasks:
            raise unknown(f"task of benchmark {self.name}", name, self.tasks)
        with quiet_mteb():
            task = _open_task(name)
            if self.data_dir is not None:
                fill_task(task, self._file(name))
            else:
                load_from_hub(task)
        return task

    def _file(self, task: str) -> Path:
        path = None if self.data_dir is None else find_pairs(self.data_dir, task)
        if path is None:
            self.check()
            raise unknown("task with data", task, self.tasks)
        return path


def resolve_benchmark(
    spec: str, *, tasks: Sequence[str] | None, skip_tasks: Sequence[str] = (), data_dir: Path | None
) -> Benchmark:
    """Turn what the user wrote into a benchmark. Imports mteb only for tasks other than the English STS tasks.

    Args:
        spec: ``sts`` or ``mteb:TASK[,TASK...]``.
        tasks: Only these of them; None for all.
        skip_tasks: All but these.
        data_dir: Folder with ``<Task>.test.jsonl[.gz]`` files (STS tasks only); None for the hub.

    Raises:
        Problem: A name is unknown, nothing is left, or a task cannot be measured or cannot come from files.
    """
    kind, _, listed = spec.partition(":")
    if kind == "mteb" and listed:
        known = tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
        _check_mteb_names(known, data_dir)
    elif spec == "sts":
        known = STS_TASKS
    else:
        meant = did_you_mean(spec, ["sts", *(f"mteb:{task}" for task in STS_TASKS)])
        raise Problem(f"unknown benchmark '{spec}'", f"{meant}{_SPECS}.")
    for name in (*(tasks or ()), *skip_tasks):
        if name not in known:
            raise unknown("task", name, known)
    chosen = tuple(task for task in known if (tasks is None or task in tasks) and task not in skip_tasks)
    if not chosen:
        raise Problem(f"no task of benchmark {spec} is left to run", f"It has: {', '.join(known) or 'none'}.")
    return Benchmark(spec if kind == "sts" else f"mteb:{','.join(known)}", chosen, data_dir)


def _check_mteb_names(names: Sequence[str], data_dir: Path | None) -> None:
    for name in names:
        if name in STS_TASKS:
            continue
        task = _open_task(name)
        if task.is_aggregate:
            raise Problem(f"mteb's '{name}' only averages other tasks", "Name those tasks instead.")
        if set(task.metadata.modalities) != {"text"}:
            raise Problem(f"mteb's '{name}' is not a text task", f"It has: {', '.join(task.metadata.modalities)}.")
        if data_dir is not None and task.metadata.type != "STS":
            raise Problem(f"'{name}' is no STS task: its data cannot come from {data_dir}", "Leave out --data-dir.")


def _open_task(name: str) -> AbsTask:
    """Make mteb's task without data; an STS task is cut down to its English subsets and test split."""
    from benchmarks.mteb_adapter import quiet_mteb

    with quiet_mteb():
        import mteb

        try:
            task = mteb.get_task(name)
        except KeyError as error:
            known = [task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)]
            hint = f"{did_you_mean(name, known)}It has {len(known)}: see mteb.get_tasks()."
            raise Problem(f"mteb has no task '{name}'", hint) from error
        if task.metadata.type == "STS":
            with contextlib.suppress(ValueError):  # No English subset: another language was asked for by name.
                task = task.filter_languages(["eng"], exclusive_language_filter=True)
            if "test" in task.eval_splits:
                task = task.filter_eval_splits(["test"])
        return task


def _strings(data: Any, splits: Sequence[str]) -> Iterator[str]:
    """Yield every string in a task's data sets, however they are nested; of named splits only those asked for."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for key in [split for split in splits if split in data] or data:
            yield from _strings(data[key], splits)
    elif isinstance(data, list):
        for inner in data:
            yield from _strings(inner, splits)
    elif hasattr(data, "column_names"):
        for column in data.column_names:
            yield from _strings(data[column][:], splits)


def _hashed(content: object) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
