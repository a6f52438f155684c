"""Where one task and its data come from: a file of pairs, the hub, the embedded demo, or the benchmark itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.demo.tasks import RETRIEVAL, Retrieval, retrieval, sts_pairs
from benchmarks.hub import load_from_hub
from benchmarks.made_tasks import make_retrieval_task, make_sts_task
from benchmarks.sts_files import StsPair, fill_task, read_pairs
from genembench.problem import Problem, did_you_mean

if TYPE_CHECKING:
    from mteb import AbsTask


class TaskSource(Protocol):
    """One task: its data are loaded only where it is measured or its texts are needed."""

    @property
    def address(self) -> str:
        """Content hash of the task's name and data."""

    def texts(self) -> Iterator[str]:
        """Yield every test text (repeats included)."""

    def load(self) -> AbsTask:
        """Return mteb's task object with its data in it; raises a ``Problem`` if they cannot be had."""


@dataclass(frozen=True)
class FromFile:
    """An STS task whose pairs stand in a file: one of mteb's tasks, or (``own``) a task that mteb does not know."""

    task: str
    path: Path
    own: bool = False

    @property
    def address(self) -> str:
        """Content hash of name and pairs."""
        return hashed([self.task, "pairs", read_pairs(self.path)])

    def texts(self) -> Iterator[str]:
        """Yield both sentences of each pair."""
        yield from texts_of_pairs(read_pairs(self.path))

    def load(self) -> AbsTask:
        """Return the task with the file's pairs as its data."""
        if self.own:
            return make_sts_task(self.task, read_pairs(self.path))
        task = open_task(self.task)
        fill_task(task, self.path)
        return task


@dataclass(frozen=True)
class FromHub:
    """Any text task of mteb, its data from the hub or its cache."""

    task: str

    @property
    def address(self) -> str:
        """Content hash of name, data set, revision, subsets and splits."""
        loaded = open_task(self.task)
        return hashed([self.task, "hub", dict(loaded.metadata.dataset), loaded.hf_subsets, list(loaded.eval_splits)])

    def texts(self) -> Iterator[str]:
        """Yield every string of the splits that are measured."""
        loaded = self.load()
        yield from _strings(loaded.dataset, loaded.eval_splits)

    def load(self) -> AbsTask:
        """Return the task with the hub's data."""
        task = open_task(self.task)
        load_from_hub(task)
        return task


@dataclass(frozen=True)
class FromDemo:
    """A task of the embedded demo, computed on the spot."""

    task: str

    @property
    def address(self) -> str:
        """Content hash of name and data."""
        if self.task == RETRIEVAL:
            made = retrieval()
            return hashed([self.task, dict(made.queries), dict(made.corpus), dict(made.relevant)])
        return hashed([self.task, "pairs", sts_pairs(self.task)])

    def texts(self) -> Iterator[str]:
        """Yield the sentences, or the queries and documents."""
        if self.task == RETRIEVAL:
            made = retrieval()
            yield from (*made.queries.values(), *made.corpus.values())
        else:
            yield from texts_of_pairs(sts_pairs(self.task))

    def load(self) -> AbsTask:
        """Return the task."""
        if self.task == RETRIEVAL:
            return make_retrieval_task(self.task, retrieval())
        return make_sts_task(self.task, sts_pairs(self.task))


@dataclass(frozen=True)
class FromRows:
    """A retrieval task whose data were made by the command, scored by MRR@10: every query has one answer."""

    task: str
    made: Retrieval
    main_score: str = "mrr_at_10"

    @property
    def address(self) -> str:
        """Content hash of name, score and data, whatever their order."""
        made = (sorted(part.items()) for part in (self.made.queries, self.made.corpus, self.made.relevant))
        return hashed([self.task, self.main_score, *made])

    def texts(self) -> Iterator[str]:
        """Yield the queries and documents."""
        yield from (*self.made.queries.values(), *self.made.corpus.values())

    def load(self) -> AbsTask:
        """Return the task."""
        return make_retrieval_task(self.task, self.made, self.main_score)


def open_task(name: str) -> AbsTask:
    """Make mteb's task without data; an STS task is cut down to its English subsets and test split.

    Raises:
        Problem: mteb has no such task.
    """
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


def texts_of_pairs(pairs: Sequence[StsPair]) -> Iterator[str]:
    """Yield both sentences of each pair."""
    for pair in pairs:
        yield from (pair.sentence1, pair.sentence2)


def hashed(content: object) -> str:
    """Hash JSON-serialisable content."""
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


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
