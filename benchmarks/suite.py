"""Which tasks a benchmark is, how their scores are averaged, and what is worth checking before a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.averages import NAMED_AVERAGES, STS_TASKS, Average, averages
from benchmarks.benchmark_file import read_benchmark_file
from benchmarks.demo.tasks import RETRIEVAL, STS, Retrieval
from benchmarks.hub import hub_out_of_reach
from benchmarks.sts_files import find_pairs
from benchmarks.task_sources import FromDemo, FromFile, FromHub, FromRows, TaskSource, hashed, open_task
from genembench.problem import Problem, did_you_mean, unknown
from genembench.settings import is_settings_file

if TYPE_CHECKING:
    from mteb import AbsTask

DEMO_STS = tuple(task for task, (_, split) in STS.items() if split == "test")
DEMO_DEV = tuple(task for task, (_, split) in STS.items() if split == "dev")
DEMO_TASKS = (*DEMO_STS, *DEMO_DEV, RETRIEVAL)
DEMO_AVERAGES: Mapping[str, tuple[str, ...]] = {"Demo(5)": (*DEMO_STS, RETRIEVAL)}
_SPECS = (
    "'sts' is the ten English STS tasks, 'demo' the embedded demo and 'demo-dev' its development set; "
    "'mteb:TASK[,TASK...]' is any text tasks of MTEB; a .toml, .yaml or .json file describes one of your own"
)


@dataclass(frozen=True)
class Benchmark:
    """Named tasks, where their data come from, and how they are averaged.

    Attributes:
        name: What tables call it.
        tasks: mteb's tasks, the demo's, or one's own.
        data_dir: Folder with the pairs of mteb's STS tasks; None for the hub.
        own: Files of sentence pairs that are tasks of their own, by task name.
        averages: Name to tasks.
        made: Retrieval tasks that the command made and that travel with the benchmark, by task name.
    """

    name: str
    tasks: tuple[str, ...]
    data_dir: Path | None = None
    own: Mapping[str, Path] | None = None
    averages: Mapping[str, tuple[str, ...]] | None = None
    made: Mapping[str, Retrieval] | None = None

    def average(self, scores: Mapping[str, float]) -> list[Average]:
        """Average scores (by task) as this benchmark does; where it has no averages of its own, as the STS tasks."""
        return averages(scores, NAMED_AVERAGES if self.averages is None else self.averages)

    def check(self) -> None:
        """Find out cheaply, before anything is trained, whether every task's data can be had.

        Raises:
            Problem: A task has no file in ``data_dir``, its own file cannot be read, or the hub is out of reach and its
                cache lacks a task.
        """
        from benchmarks.mteb_adapter import quiet_mteb

        if self.data_dir is not None and not self.data_dir.is_dir():
            raise Problem(f"no data folder {self.data_dir}", "It holds <Task>.test.jsonl or <Task>.test.jsonl.gz.")
        sources = [self._source(task) for task in self.tasks]
        missing = [task for task, source in zip(self.tasks, sources, strict=True) if source is None]
        if missing:
            raise Problem(
                f"{self.data_dir} has no test pairs of {', '.join(missing)}",
                f"Add {' and '.join(f'{task}.test.jsonl(.gz)' for task in missing)}, or leave them out with "
                f"--skip-tasks {','.join(missing)}.",
            )
        # Asked once, and not for each task: a hub that does not answer takes seconds to say so.
        unreachable = any(isinstance(source, FromHub) for source in sources) and hub_out_of_reach()
        for source in sources:
            if (isinstance(source, FromHub) and unreachable) or (isinstance(source, FromFile) and source.own):
                with quiet_mteb():
                    source.load()

    def texts(self) -> Iterator[str]:
        """Yield every test text of every task (repeats included); a ``Problem`` where a task's data cannot be had."""
        for task in self.tasks:
            yield from self._found(task).texts()

    def neighbourhood(self) -> Benchmark:
        """Return the benchmark whose sentences to keep out of training data.

        From files, and of the demo, these are all the tasks that are there, chosen or not: another choice of tasks then
        leaves the training data, and so what is trained already, as they are. From the hub only what was chosen is
        loaded.
        """
        there = tuple(task for task, path in (self.own or {}).items() if path.is_file())
        if self.data_dir is not None:
            there += tuple(task for task in STS_TASKS if find_pairs(self.data_dir, task) is not None)
        if set(self.tasks) & set(DEMO_TASKS):
            there += DEMO_TASKS
        return replace(self, tasks=tuple(dict.fromkeys((*there, *self.tasks))))

    @cached_property
    def address(self) -> str:
        """Content hash of task names and data, whatever the order of the tasks."""
        return hashed(sorted(self.task_address(task) for task in self.tasks))

    def task_address(self, task: str) -> str:
        """Content hash of one task: its pairs (files), or its data set, revision, subsets and splits (hub)."""
        return self._found(task).address

    def load_task(self, name: str) -> AbsTask:
        """Return mteb's own task object with its data in it.

        Raises:
            Problem: The task is none of this benchmark's, or its data cannot be had.
        """
        from benchmarks.mteb_adapter import quiet_mteb

        if name not in self.tasks:
            raise unknown(f"task of benchmark {self.name}", name, self.tasks)
        with quiet_mteb():
            return self._found(name).load()

    def _source(self, task: str) -> TaskSource | None:
        if self.made and task in self.made:
            return FromRows(task, self.made[task])
        if self.own and task in self.own:
            return FromFile(task, self.own[task], own=True)
        if task in DEMO_TASKS:
            return FromDemo(task)
        if self.data_dir is None:
            return FromHub(task)
        path = find_pairs(self.data_dir, task)
        return None if path is None else FromFile(task, path)

    def _found(self, task: str) -> TaskSource:
        source = self._source(task)
        if source is None:
            self.check()
            raise unknown("task with data", task, self.tasks)
        return source


def resolve_benchmark(
    spec: str, *, tasks: Sequence[str] | None, skip_tasks: Sequence[str] = (), data_dir: Path | None
) -> Benchmark:
    """Turn what the user wrote into a benchmark. Imports mteb only for tasks other than the English STS tasks.

    Args:
        spec: ``sts``, ``demo``, ``demo-dev``, ``mteb:TASK[,TASK...]`` or a file, see `read_benchmark_file`.
        tasks: Only these of them; None for all.
        skip_tasks: All but these.
        data_dir: Folder with ``<Task>.test.jsonl[.gz]`` files (STS tasks only); None for the hub.

    Raises:
        Problem: A name is unknown, nothing is left, or a task cannot be measured or cannot come from files.
    """
    whole = _whole(spec, data_dir)
    for name in (*(tasks or ()), *skip_tasks):
        if name not in whole.tasks:
            raise unknown("task", name, whole.tasks)
    chosen = tuple(task for task in whole.tasks if (tasks is None or task in tasks) and task not in skip_tasks)
    if not chosen:
        raise Problem(f"no task of benchmark {spec} is left to run", f"It has: {', '.join(whole.tasks) or 'none'}.")
    return replace(whole, tasks=chosen)


def _whole(spec: str, data_dir: Path | None) -> Benchmark:
    kind, _, listed = spec.partition(":")
    if is_settings_file(spec):
        found = read_benchmark_file(Path(spec))
        benchmark = Benchmark(found.name, found.tasks, data_dir or found.data_dir, found.pairs, found.averages)
        _check_mteb_names([task for task in found.tasks if task not in found.pairs], benchmark.data_dir)
        return benchmark
    if kind == "mteb" and listed:
        known = tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
        _check_mteb_names(known, data_dir)
        return Benchmark(f"mteb:{','.join(known)}", known, data_dir)
    if spec == "sts":
        return Benchmark(spec, STS_TASKS, data_dir)
    if spec in ("demo", "demo-dev"):
        if data_dir is not None:
            raise Problem(f"--benchmark {spec} computes its tasks, it reads no --data-dir", "Leave out --data-dir.")
        tasks = (*DEMO_STS, RETRIEVAL) if spec == "demo" else DEMO_DEV
        return Benchmark(spec, tasks, averages=DEMO_AVERAGES)
    meant = did_you_mean(spec, ["sts", "demo", "demo-dev", *(f"mteb:{task}" for task in STS_TASKS)])
    raise Problem(f"unknown benchmark '{spec}'", f"{meant}{_SPECS}.")


def _check_mteb_names(names: Sequence[str], data_dir: Path | None) -> None:
    for name in names:
        if name in STS_TASKS or name in DEMO_TASKS:
            continue
        task = open_task(name)
        if task.is_aggregate:
            raise Problem(f"mteb's '{name}' only averages other tasks", "Name those tasks instead.")
        if set(task.metadata.modalities) != {"text"}:
            raise Problem(f"mteb's '{name}' is not a text task", f"It has: {', '.join(task.metadata.modalities)}.")
        if data_dir is not None and task.metadata.type != "STS":
            raise Problem(f"'{name}' is no STS task: its data cannot come from {data_dir}", "Leave out --data-dir.")
