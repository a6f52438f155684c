"""A run record as the leaderboard sees it: ``run.json``, typed and checked, and nothing else of the run folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from genembench.problem import Problem
from leaderboard.facts import (
    BackboneFacts,
    BenchmarkFacts,
    BudgetFacts,
    DataFacts,
    MethodFacts,
    NamedAverage,
    RunCosts,
    TaskScore,
)
from leaderboard.schema import parse, wrong

SCHEMA = 1
SAME_RUN = 0.5
"""How far apart, x100, two machines may find one run's score."""
STATUSES = ("done", "budget_exhausted", "skipped", "diverged", "out_of_memory", "failed", "interrupted")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run, from backbone to scores (schema 1)."""

    schema: int
    run: str
    status: str
    reason: str
    method: MethodFacts
    backbone: BackboneFacts | None
    budget: BudgetFacts
    seed: int
    benchmark: BenchmarkFacts
    training_address: str | None
    evaluation_address: str | None
    data: Mapping[str, DataFacts]
    costs: RunCosts
    scores: tuple[TaskScore, ...]
    averages: tuple[NamedAverage, ...]
    engine: Mapping[str, Any]
    configuration: Mapping[str, Any]
    environment: Mapping[str, Any]
    started: str
    finished: str
    # Where it was read from: for messages only, so two copies of one record are equal.
    source: Path = field(default=Path("run.json"), init=False, compare=False)

    @classmethod
    def from_json(cls, value: object, source: Path = Path("run.json")) -> Record:
        """Check what ``json.loads`` returned and make a record of it.

        Args:
            value: The decoded ``run.json``.
            source: The file it came from; every message names it.
        """
        # First of all, because another version is expected to differ everywhere else too.
        if isinstance(value, dict) and value.get("schema", SCHEMA) != SCHEMA:
            raise wrong(source, "schema", f"is {value['schema']!r}; this version of genembench reads {SCHEMA}")
        record = parse(cls, value, source)
        object.__setattr__(record, "source", source)
        if record.status not in STATUSES:
            raise wrong(source, "status", f"is '{record.status}', which is none of {', '.join(STATUSES)}")
        if record.done and not record.scores:
            raise wrong(source, "scores", "is empty although the run is done")
        if not record.done and (record.scores or record.averages):
            raise wrong(source, "scores", f"is not empty although the run is {record.status}")
        if not record.done and not record.reason.strip():
            raise wrong(source, "reason", f"is empty although the run is {record.status}")
        return record

    @property
    def done(self) -> bool:
        """Whether the run reached its scores."""
        return self.status == "done"

    @property
    def finished_model(self) -> bool:
        """Whether this is an outside model that was only measured, not made here."""
        return self.backbone is None

    def task_scores(self) -> dict[str, float]:
        """Return one score per task; a task with several subsets or splits counts as their plain mean."""
        by_task: dict[str, list[float]] = {}
        for score in self.scores:
            by_task.setdefault(score.task, []).append(score.score)
        return {task: fmean(values) for task, values in by_task.items()}

    def average_scores(self) -> dict[str, float]:
        """Return the score of every average that the run has."""
        return {average.name: average.score for average in self.averages}


def read_records(paths: Iterable[Path]) -> list[Record]:
    """Read every record under ``paths``, sorted by run id.

    Args:
        paths: Each a run folder, a ``runs`` folder, or an output folder that holds one.

    Raises:
        Problem: a folder holds no records, a record is damaged, or one run has two different results.
    """
    return merge_records(paths)[0]


def merge_records(paths: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """Read every record under ``paths``; a run that stands in several folders is taken once, and a note says so.

    A run id names what determines its scores, so two machines must have found nearly the same ones (floating point
    differs from processor to processor). The first folder's record counts, one that is done before one that is not.

    Returns:
        The records by run id, and the notes.
    """
    found: dict[str, Record] = {}
    notes = []
    for file in (file for path in paths for file in _record_files(Path(path))):
        record = _read(file)
        first = found.setdefault(record.run, record)
        if first is record or (first == record and first.source == record.source):
            continue
        kept, other = (record, first) if record.done and not first.done else (first, record)
        found[record.run] = kept
        why = f"the other one is {other.status}"
        if kept.done and other.done:
            apart = _apart(kept, other)
            if not apart <= SAME_RUN:
                raise Problem(
                    f"run '{record.run}' has two different records: {first.source} and {file} are up to {apart:.2f} "
                    f"apart in a score, and {SAME_RUN} is what machines may differ by",
                    "They cannot both be right: `genembench verify` tells which one is; give only that folder.",
                )
            why = f"the scores are up to {apart:.4f} apart"
        notes.append(f"run '{record.run}' stands in several folders; {kept.source.parent} is used, {why}")
    return [found[run] for run in sorted(found)], notes


def _apart(first: Record, second: Record) -> float:
    """Return the largest difference in any task; infinite where the tasks are not the same."""
    one, other = first.task_scores(), second.task_scores()
    return max(abs(one[task] - other[task]) for task in one) if one.keys() == other.keys() else math.inf


def _record_files(path: Path) -> list[Path]:
    """Return the ``run.json`` of every run that a path stands for."""
    if (path / "run.json").is_file():
        return [path / "run.json"]
    runs = path / "runs" if (path / "runs").is_dir() else path
    if not runs.is_dir():
        raise Problem(f"no run records at {path}", "Give an output folder, its runs folder, or one run folder.")
    # Names with a leading dot are not (yet) records: .partial-* is a run still being written, or one that was killed.
    folders = sorted(folder for folder in runs.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    files = [folder / "run.json" for folder in folders]
    if runs == path and path.name != "runs" and not any(file.is_file() for file in files):
        raise Problem(f"no run records at {path}", "Give an output folder, its runs folder, or one run folder.")
    return files


def _read(file: Path) -> Record:
    """Read one ``run.json``."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Problem(f"{file.parent} holds no run.json", "Move what is no run out of the runs folder.") from None
    except OSError as error:
        raise Problem(f"{file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # not UTF-8, or not JSON
        raise Problem(f"{file} is not readable JSON: {error}", "Run it again or leave this folder out.") from None
    return Record.from_json(value, file)
