"""The columns of every table and CSV file: a column is one line of the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from leaderboard.board import Board, Entry
from leaderboard.facts import Costs
from leaderboard.inference import Inference, read_inference
from leaderboard.rows import Row, task_names
from leaderboard.tables import Cell, Head
from leaderboard.units import UNKNOWN, count, gigabytes, interval, score, seconds, si, volume

HEADERS = {"STSBenchmark": "STS-B"}
# Always there, so that files of different comparisons stack; other kinds follow by name.
KINDS = ("triplets", "instruct", "pairs", "text")


def _nothing(entry: Entry) -> str:
    """Leave out the small print."""
    return ""


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: What a CSV file calls it.
        header: What stands above it in a table.
        value: A row's number or words; None where it has none.
        write: Writes a value for people.
        small: The small print behind it.
        score: The task or average it shows, as statistics know it; empty for everything that has no best.
        left: Whether the cells are words, aligned to the left.
    """

    name: str
    header: str
    value: Callable[[Entry], Any]
    write: Callable[[Any], str] = str
    small: Callable[[Entry], str] = _nothing
    score: str = ""
    left: bool = False

    @property
    def head(self) -> Head:
        """What stands above it."""
        return Head(self.header, self.left)

    def cell(self, entry: Entry) -> Cell:
        """Return a row's cell."""
        value = self.value(entry)
        if value is None:
            return Cell(UNKNOWN)
        statistics = entry.board.statistics
        best = bool(self.score) and entry.at in statistics.best(self.score)
        level = bool(self.score) and not best and entry.at in statistics.level(self.score)
        return Cell(self.write(value), self.small(entry), best=best, level=level)


def _volume(entry: Entry) -> str | None:
    """Write the unique examples of a row."""
    return None if entry.row.first.finished_model else volume(unique_examples(entry.row))


def unique_examples(row: Row) -> dict[str, int]:
    """Return a row's unique examples by kind; of several seeds the largest number, should they differ."""
    counts = [record.costs.attributed.unique_examples for record in row.records]
    kinds = sorted({kind for unique in counts for kind in unique})
    return {kind: max(unique.get(kind, 0) for unique in counts) for kind in kinds}


def _cost(name: str, header: str, of: Callable[[Costs], float], write: Callable[[float], str]) -> Column:
    """Return the column of a cost: what is attributed to the row, and what was spent where that is something else."""

    def spent(entry: Entry) -> str:
        paid = write(fmean(of(record.costs.spent) for record in entry.row.records))
        return "" if paid == write(entry.row.cost(of) or 0.0) else f"/ {paid}"

    return Column(name, header, lambda entry: entry.row.cost(of), write, spent)


def _probed(name: str, header: str, of: Callable[[Inference], float | None], write: Callable[[float], str]) -> Column:
    """Return the column of a cost of using an encoder: the mean over the seeds that were measured."""

    def value(entry: Entry) -> float | None:
        found = [of(it) for record in entry.row.records if (it := read_inference(record))]
        known = [number for number in found if number is not None]
        return fmean(known) if known else None

    return Column(name, header, value, write)


def _rank(entry: Entry) -> tuple[int, int] | None:
    """Return the best and the worst place of a row."""
    board = entry.board
    standing = board.statistics.standing(entry.at, board.headline) if board.headline else None
    return (standing.best, standing.worst) if standing else None


def _letters(entry: Entry) -> str:
    """Return the letters that a row shares with those it cannot be told from."""
    board = entry.board
    standing = board.statistics.standing(entry.at, board.headline) if board.headline else None
    return f"({standing.group})" if standing and standing.group else ""


def _places(rank: tuple[int, int]) -> str:
    """Write an interval of places."""
    return f"{rank[0]}–{rank[1]}" if rank[0] < rank[1] else str(rank[0])


def _label(entry: Entry) -> str:
    """Return a row's name with its mark."""
    return f"{entry.row.label} {entry.row.mark}".rstrip()


def _budget(entry: Entry) -> str | None:
    """Return a row's budget; a finished model had none."""
    return None if entry.row.first.finished_model else entry.row.first.budget.label


def _backbone(entry: Entry) -> str | None:
    """Return the name of a row's backbone; a finished model has none."""
    return entry.row.first.backbone.name if entry.row.first.backbone else None


def budget_text(label: str) -> str:
    """Write a budget's label with its thousands apart where it is a plain number."""
    return f"{int(label):,}" if label.isascii() and label.isdigit() else label


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("method", "Method", _label, left=True),
        Column("backbone", "Backbone", _backbone, left=True),
        Column("run", "Run", lambda entry: entry.row.first.run, left=True),
        Column("budget", "Budget", _budget, budget_text),
        Column("seed", "Seed", lambda entry: entry.row.first.seed),
        Column("seeds", "Seeds", lambda entry: len(entry.row.records)),
        Column("volume", "Vol.", _volume),
        Column("rank", "Rank", _rank, _places, _letters),
        Column("mark", "Mark", lambda entry: entry.row.mark),
        _cost("unique", "Unique", lambda it: sum(it.unique_examples.values()), count),
        _cost("seen", "Seen", lambda it: sum(it.examples_seen.values()), count),
        _cost("tokens", "Tokens", lambda it: it.real_tokens, si),
        _cost("steps", "Steps", lambda it: it.optimizer_steps, count),
        _cost("flops", "FLOPs", lambda it: it.model_flops, si),
        _cost("seconds", "Training", lambda it: it.training_seconds, seconds),
        _cost("memory", "Peak memory", lambda it: it.peak_memory_bytes, gigabytes),
        _probed("sentences_per_second", "Texts/s", lambda it: it.sentences_per_second, si),
        _probed("tokens_per_text", "Tokens/text", lambda it: it.tokens_per_text, lambda value: f"{value:.1f}"),
        _probed("flops_per_text", "FLOPs/text", lambda it: it.model_flops_per_text, si),
        Column("status", "Status", lambda entry: entry.row.first.status, left=True),
        Column("reason", "Reason", lambda entry: " ".join(entry.row.first.reason.split()), left=True),
    )
}
PROBED = ("sentences_per_second", "tokens_per_text", "flops_per_text")
MISSING = ("method", "budget", "seed", "status", "reason", "run")


def score_columns(board: Board, tasks: bool = True, bounds: Sequence[str] | None = None) -> list[Column]:
    """Return the columns of a score table; what is the same in every row gets no column.

    Args:
        board: The rows the table will have.
        tasks: Whether every task has a column, or only the averages.
        bounds: The scores whose intervals are shown; without it all averages and whatever ranks the rows.
    """
    shown = [*board.averages, board.headline] if bounds is None else bounds
    keys = ["method", *telling(board), "volume"]
    records = [record for row in board.rows for record in row.records]
    names = task_names(records) if tasks or not board.averages else []
    return [
        *(COLUMNS[key] for key in keys),
        *(task_column(name, bounds=name in shown) for name in names),
        *(average_column(name, bounds=name in shown) for name in board.averages),
        *([COLUMNS["rank"]] if any(_rank(entry) for entry in board) else []),
    ]


def telling(board: Board) -> list[str]:
    """Return which of budget and seeds differ between rows (training-free and finished rows have no budget)."""
    budgets = {row.first.budget.label for row in board.rows if row.first.budget.asked}
    seeds = {len(row.records) for row in board.rows}
    return [*(["budget"] if len(budgets) > 1 else []), *(["seeds"] if len(seeds) > 1 else [])]


def headline_column(board: Board, bounds: bool = True) -> Column:
    """Return the column of the score that ranks the rows; the board must have one."""
    return (average_column if board.headline in board.averages else task_column)(board.headline, bounds=bounds)


def task_column(name: str, bounds: bool = False) -> Column:
    """Return the column of one task."""
    header = HEADERS.get(name, name)
    return Column(name, header, lambda entry: entry.row.task(name), score, _bounds(name) if bounds else _nothing, name)


def average_column(name: str, bounds: bool = True) -> Column:
    """Return the column of a named average, with its interval or, where that is unknown, the deviation over seeds."""

    def value(entry: Entry) -> float | None:
        # In a marked row the same name may stand for a mean over other tasks.
        tasks = {average.tasks for record in entry.row.records for average in record.averages if average.name == name}
        return entry.row.average(name) if tasks == {entry.board.averages[name]} else None

    return Column(name, name, value, score, _bounds(name) if bounds else _nothing, name)


def _bounds(name: str) -> Callable[[Entry], str]:
    """Write the interval of a score."""

    def small(entry: Entry) -> str:
        found = entry.board.statistics.interval(entry.at, name)
        if found:
            return interval(found.low, found.high)
        deviation = entry.row.deviation(name)
        return "" if deviation is None else f"± {score(deviation)}"

    return small
