"""The machine-readable files. All but ``costs.csv`` are the same to the byte whenever scores and predictions are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from leaderboard.board import Board, Entry
from leaderboard.columns import COLUMNS, KINDS, PROBED, Column, average_column, task_column, unique_examples
from leaderboard.comparable import Marks
from leaderboard.facts import Costs
from leaderboard.files import write_atomically
from leaderboard.records import Record
from leaderboard.rows import Row, sort_key, task_names
from leaderboard.statistics import Interval, Statistics

SCORE_HEADER = ("run", "method", "backbone", "budget", "seed", "task", "score", "low", "high")
DIFFERENCE_HEADER = (
    *("budget", "first", "second", "average", "difference", "low", "high", "p", "p_holm", "significant"),
    *("improvement", "improvement_low", "improvement_high"),
)


def write_scores(records: Iterable[Record], path: Path, statistics: Statistics | None = None) -> Path:
    """Write one line per done run and task or average; scores are ×100, four decimals.

    ``low`` and ``high`` are the 95 % interval of this run alone (test pairs only), two decimals, empty without
    predictions.

    Args:
        records: Any records, in any order; those without scores leave no line.
        path: The file to write.
        statistics: Of the rows of these records; made here without it.
    """
    statistics = Board.of(records := list(records), statistics).statistics
    lines: list[Sequence[object]] = [SCORE_HEADER]
    for record in sorted((record for record in records if record.done), key=sort_key):
        tasks = record.task_scores()
        scores = {name: tasks[name] for name in task_names([record]) if name in tasks} | record.average_scores()
        for name, score in scores.items():
            lines.append((*_who(record), name, _number(score, 4), *_bounds(statistics.run_interval(record, name))))
    return write_atomically(path, _csv(lines))


def write_wide(
    records: Iterable[Record], path: Path, statistics: Statistics | None = None, marks: Marks | None = None
) -> Path:
    """Write one line per row of the table: what it is, every score, every interval, its rank.

    Scores are ×100 with four decimals, intervals (which hold seeds where there are several) with two; ``rank_low`` is
    the best place, ``group`` are the letters of the score that ranks.

    Args:
        records: Comparable or marked records, in any order.
        path: The file to write.
        statistics: Of the rows of these records; made here without it.
        marks: The runs that are not comparable.
    """
    board = Board.of(records, statistics, marks)
    names = task_names(record for row in board.rows for record in row.records)
    scores = [*(task_column(name) for name in names), *(average_column(name) for name in board.averages)]
    columns = [
        *(COLUMNS[key] for key in ("method", "backbone", "budget", "seeds")),
        *(_unique(kind) for kind in _kinds(unique_examples(row) for row in board.rows)),
    ]
    # The label without its mark, which has a column of its own.
    columns[0] = Column("method", "Method", lambda entry: entry.row.label)
    last = [_rank("rank_low", "best"), _rank("rank_high", "worst"), _rank("group", "group"), COLUMNS["mark"]]
    bounds = [f"{column.name}_{end}" for column in scores for end in ("low", "high")]
    lines: list[Sequence[object]] = [[*(each.name for each in (*columns, *scores)), *bounds, *(it.name for it in last)]]
    for entry in board:
        values = [column.value(entry) for column in scores]
        found = [
            None if value is None else board.statistics.interval(entry.at, column.name)
            for value, column in zip(values, scores, strict=True)
        ]
        lines.append(
            [
                *(column.value(entry) for column in columns),
                *("" if value is None else _number(value, 4) for value in values),
                *(bound for interval in found for bound in _bounds(interval)),
                *(column.value(entry) for column in last),
            ]
        )
    return write_atomically(path, _csv(lines))


def write_differences(
    records: Iterable[Record], path: Path, statistics: Statistics | None = None, marks: Marks | None = None
) -> Path:
    """Write one line per comparison by the score that ranks, contest by contest.

    Differences are first minus second on the 0-100 scale, with two decimals at their bounds and four at themselves;
    p-values have three significant digits, ``p_holm`` is adjusted over the comparisons of the same budget;
    ``improvement`` is the probability that first beats second on a task drawn at random.

    Args:
        records: Comparable or marked records, in any order.
        path: The file to write.
        statistics: Of the rows of these records; made here without it.
        marks: The runs that are not comparable.
    """
    board = Board.of(records, statistics, marks)
    lines: list[Sequence[object]] = [DIFFERENCE_HEADER]
    for contest in board.statistics.contests if board.headline else ():
        for it in board.statistics.comparisons(contest, board.headline):
            names = (board.rows[it.first].label, board.rows[it.second].label, board.headline)
            improvement = (it.improvement, it.improvement_interval.low, it.improvement_interval.high)
            lines.append(
                (
                    *(contest.budget, *names, _number(it.difference, 4), *_bounds(it.interval)),
                    *(f"{it.p:.3g}", f"{it.p_holm:.3g}", "yes" if it.significant else "no"),
                    *(_number(value, 4) for value in improvement),
                )
            )
    return write_atomically(path, _csv(lines))


def write_costs(records: Iterable[Record], path: Path) -> Path:
    """Write two lines per run, whatever its status: what is attributed to it and what was spent on it.

    The last columns say what using its encoder costs, on both lines; they are empty where that was not measured.

    Args:
        records: Any records, in any order.
        path: The file to write.
    """
    records = sorted(records, key=sort_key)
    accounts = [costs for record in records for costs in (record.costs.attributed, record.costs.spent)]
    kinds = _kinds(kinds for costs in accounts for kinds in (costs.unique_examples, costs.examples_seen))
    header = ("run", "method", "backbone", "budget", "seed", "accounting", *cost_names(kinds))
    lines: list[Sequence[object]] = [(*header, "evaluation_seconds", "status", "reason", *PROBED)]
    # One line a run, where a table would have one for all seeds.
    board = Board(tuple(Row(record.run, (record,)) for record in records), (), Statistics(()))
    for entry, record in zip(board, records, strict=True):
        evaluation = record.costs.evaluation
        probed = [COLUMNS[name].value(entry) for name in PROBED]
        after = (evaluation.seconds if evaluation else "", record.status, " ".join(record.reason.split()), *probed)
        for accounting, costs in (("attributed", record.costs.attributed), ("spent", record.costs.spent)):
            lines.append((*_who(record), accounting, *_flat(costs, kinds), *after))
    return write_atomically(path, _csv(lines))


def cost_names(kinds: Sequence[str] = KINDS) -> tuple[str, ...]:
    """Return the names of a flattened account's numbers, in the order ``costs.csv`` has them."""
    totals = ("real_tokens", "padded_tokens", "optimizer_steps", "model_flops", "training_seconds", "peak_memory_bytes")
    return (*(f"unique_{kind}" for kind in kinds), *(f"seen_{kind}" for kind in kinds), *totals)


def _kinds(accounts: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the kinds of data that have columns: the known ones always, others by name."""
    return (*KINDS, *sorted({kind for account in accounts for kind in account}.difference(KINDS)))


def _unique(kind: str) -> Column:
    """Return the column of a row's unique examples of one kind."""

    def value(entry: Entry) -> int | None:
        return None if entry.row.first.finished_model else unique_examples(entry.row).get(kind, 0)

    return Column(f"unique_{kind}", kind, value)


def _rank(name: str, part: str) -> Column:
    """Return the column of one part of a row's standing."""

    def value(entry: Entry) -> object:
        board = entry.board
        standing = board.statistics.standing(entry.at, board.headline) if board.headline else None
        return getattr(standing, part) if standing else None

    return Column(name, name, value)


def _flat(costs: Costs, kinds: Sequence[str]) -> tuple[float, ...]:
    """Return an account's numbers in the order of ``cost_names``."""
    return (
        *(costs.unique_examples.get(kind, 0) for kind in kinds),
        *(costs.examples_seen.get(kind, 0) for kind in kinds),
        *(costs.real_tokens, costs.padded_tokens, costs.optimizer_steps),
        *(costs.model_flops, costs.training_seconds, costs.peak_memory_bytes),
    )


def _who(record: Record) -> tuple[object, ...]:
    """Return what every line about a run begins with; a finished model has no backbone."""
    backbone = record.backbone.name if record.backbone else ""
    return (record.run, record.method.name, backbone, record.budget.label, record.seed)


def _bounds(interval: Interval | None) -> tuple[str, str]:
    """Write an interval's two ends; empty where there is none."""
    return (_number(interval.low, 2), _number(interval.high, 2)) if interval else ("", "")


def _number(value: float, digits: int) -> str:
    """Write a number; adding zero turns -0.0 into 0.0, as the sign of nothing is not reproducible."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _csv(lines: Iterable[Sequence[object]]) -> bytes:
    """Encode lines as UTF-8 CSV with bare newlines on every platform."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode("utf-8")
