"""Records of two tasks, and statistics that say what a test wants them to say: tables to be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaderboard.board import Board
from leaderboard.comparable import Marks
from leaderboard.records import Record
from leaderboard.rows import build_rows
from leaderboard.statistics import Comparison, Contest, Interval, Standing, Statistics
from tests.leaderboard.made_up import run_json

AVERAGE = "Mean(A,B)"
Bounds = Mapping[tuple[int, str], tuple[float, float]]


def pair_json(method: str, a: float, b: float, **options: Any) -> dict[str, Any]:
    """The decoded ``run.json`` of a run that was scored on the tasks A and B and their mean."""
    value = run_json(method, **options)
    value["benchmark"] = {"name": "two", "address": "two", "tasks": ["A", "B"]}
    if value["status"] == "done":
        value["scores"] = [value["scores"][0] | {"task": task, "score": score} for task, score in (("A", a), ("B", b))]
        value["averages"] = [{"name": AVERAGE, "tasks": ["A", "B"], "score": (a + b) / 2}]
    return value


def pair(method: str, a: float, b: float, **options: Any) -> Record:
    return Record.from_json(pair_json(method, a, b, **options))


def free(method: str, a: float, b: float) -> Record:
    return pair(method, a, b, family="Training-free", budget=0)


def outside(method: str, a: float, b: float) -> Record:
    return pair(method, a, b, family="any", budget=0, backbone=None)


class Said(Statistics):
    """Statistics of records without predictions, with what they cannot know said by the test.

    ``bounds`` are intervals by place and column, ``standings`` by place, ``compared`` the comparisons of every contest,
    ``level`` places by column; contests and best scores are found as ever.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        bounds: Bounds | None = None,
        standings: Mapping[int, tuple[int, int, str]] | None = None,
        compared: Sequence[Comparison] = (),
        level: Mapping[str, set[int]] | None = None,
        marks: Marks | None = None,
    ) -> None:
        super().__init__(build_rows(records, marks.signs if marks else None), resamples=2000)
        self._bounds, self._standing = bounds or {}, standings or {}
        self._compared, self._alike = compared, level or {}

    def interval(self, at: int, column: str) -> Interval | None:
        found = self._bounds.get((at, column))
        return Interval(*found) if found else None

    def run_interval(self, record: Record, column: str) -> Interval | None:
        places = [at for at, row in enumerate(self.rows) if record in row.records and len(row.records) == 1]
        return self.interval(places[0], column) if places else None

    def comparisons(self, contest: Contest, column: str) -> tuple[Comparison, ...]:
        return tuple(each for each in self._compared if {each.first, each.second} <= set(contest.rows))

    def standing(self, at: int, column: str) -> Standing | None:
        return Standing(*self._standing[at]) if at in self._standing else None

    def level(self, column: str) -> set[int]:
        return self._alike.get(column, set())


def comparison(first: int, second: int, difference: float, low: float, high: float, p: float) -> Comparison:
    return Comparison(first, second, difference, Interval(low, high), p / 2, p, 0.75, Interval(0.5, 1.0))


def board(records: Sequence[Record], marks: Marks | None = None, **said: Any) -> Board:
    return Board.of(records, Said(records, marks=marks, **said), marks)


def saved(folder: Path, value: dict[str, Any], inference: dict[str, Any] | None = None) -> Record:
    """A record read from a folder of its own, with the measurement of its encoder beside it."""
    folder.mkdir(parents=True)
    if inference is not None:
        (folder / "inference.json").write_text(json.dumps(inference))
    return Record.from_json(value, folder / "run.json")


def inference(speed: float, device: str = "x86_64", threads: int = 1, **change: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "evaluation_address": "e",
        "texts": 200,
        "sentences_per_second": speed,
        "passes": [1.0, 2.0, 3.0],
        "tokens_per_text": 21.46,
        "padded_tokens_per_text": 30.0,
        "model_flops_per_text": 4.0e8,
        "dimensions": 64,
        "device": device,
        "threads": threads,
        "precision": "float32",
    } | change
