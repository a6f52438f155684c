"""The columns of every table: a column is one line of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from leaderboard.rows import Row, average_names, task_names
from leaderboard.units import UNKNOWN, gigabytes, seconds, si, volume

HEADERS = {"STSBenchmark": "STS-B"}


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        header: What stands above it.
        text: A row's cell.
        rank: What "best" is decided on, higher is better; None where no row is better than another.
        left: Whether the cells are words, aligned to the left.
    """

    header: str
    text: Callable[[Row], str]
    rank: Callable[[Row], float | None] | None = None
    left: bool = False


def _amount(of: Callable[[Row], float | None], write: Callable[[float], str]) -> Callable[[Row], str]:
    """Write a number that a row may not have."""

    def text(row: Row) -> str:
        value = of(row)
        return UNKNOWN if value is None else write(value)

    return text


def _count(value: float) -> str:
    """Write a count in full."""
    return f"{value:,.0f}"


def _volume(row: Row) -> str:
    """Write the unique examples of a row; of several seeds the largest, should they differ."""
    if row.first.finished_model:
        return UNKNOWN
    counts = [record.costs.attributed.unique_examples for record in row.records]
    kinds = {kind for unique in counts for kind in unique}
    return volume({kind: max(unique.get(kind, 0) for unique in counts) for kind in kinds})


COLUMNS: dict[str, Column] = {
    "method": Column("Method", lambda row: row.label, left=True),
    "run": Column("Run", lambda row: row.first.run, left=True),
    "budget": Column(
        "Budget", lambda row: UNKNOWN if row.first.finished_model else budget_text(row.first.budget.label)
    ),
    "seed": Column("Seed", lambda row: str(row.first.seed)),
    "seeds": Column("Seeds", lambda row: str(len(row.records))),
    "volume": Column("Vol.", _volume),
    "unique": Column("Unique", _amount(lambda row: row.cost(lambda it: sum(it.unique_examples.values())), _count)),
    "seen": Column("Seen", _amount(lambda row: row.cost(lambda it: sum(it.examples_seen.values())), _count)),
    "tokens": Column("Tokens", _amount(lambda row: row.cost(lambda it: it.real_tokens), si)),
    "steps": Column("Steps", _amount(lambda row: row.cost(lambda it: it.optimizer_steps), _count)),
    "flops": Column("FLOPs", _amount(lambda row: row.cost(lambda it: it.model_flops), si)),
    "seconds": Column("Training", _amount(lambda row: row.cost(lambda it: it.training_seconds), seconds)),
    "memory": Column("Peak memory", _amount(lambda row: row.cost(lambda it: it.peak_memory_bytes), gigabytes)),
    "status": Column("Status", lambda row: row.first.status, left=True),
    "reason": Column("Reason", lambda row: " ".join(row.first.reason.split()), left=True),
}


def score_columns(rows: Sequence[Row], tasks: bool = True) -> list[Column]:
    """Return the columns of a score table; what is the same in every row gets no column.

    Args:
        rows: The rows the table will have.
        tasks: Whether every task has a column, or only the averages.
    """
    records = [record for row in rows for record in row.records]
    keys = ["method", *_telling(rows), "volume"]
    names = task_names(records) if tasks else []
    averages = [average_column(name) for name in average_names(records)]
    return [*(COLUMNS[key] for key in keys), *(task_column(name) for name in names), *averages]


def cost_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of a cost table."""
    budget = [key for key in _telling(rows) if key == "budget"]
    keys = ["method", *budget, "unique", "seen", "tokens", "steps", "flops", "seconds", "memory"]
    return [COLUMNS[key] for key in keys]


def _telling(rows: Sequence[Row]) -> list[str]:
    """Return which of budget and seeds differ between rows (training-free and finished rows have no budget)."""
    budgets = {row.first.budget.label for row in rows if row.first.budget.asked}
    seeds = {len(row.records) for row in rows}
    return [*(["budget"] if len(budgets) > 1 else []), *(["seeds"] if len(seeds) > 1 else [])]


def budget_text(label: str) -> str:
    """Write a budget's label with its thousands apart where it is a plain number."""
    return f"{int(label):,}" if label.isascii() and label.isdigit() else label


def task_column(name: str) -> Column:
    """Return the column of one task."""
    return Column(HEADERS.get(name, name), _amount(lambda row: row.task(name), _score), lambda row: row.task(name))


def average_column(name: str) -> Column:
    """Return the column of a named average, with the standard deviation over seeds where there are several."""

    def text(row: Row) -> str:
        mean, deviation = row.average(name), row.deviation(name)
        if mean is None:
            return UNKNOWN
        return _score(mean) if deviation is None else f"{_score(mean)} ± {_score(deviation)}"

    return Column(name, text, lambda row: row.average(name))


def _score(value: float) -> str:
    """Write a score of the 0-100 scale."""
    return f"{value:.2f}"


def best(column: Column, rows: Iterable[Row]) -> set[int]:
    """Return which rows are best in a column: all that print the same two decimals as the highest one.

    Finished models take no part: they were trained on other data.
    """
    if column.rank is None:
        return set()
    made_here = {at: row for at, row in enumerate(rows) if not row.first.finished_model}
    scores = {at: score for at, row in made_here.items() if (score := column.rank(row)) is not None}
    top = {_score(max(scores.values()))} if scores else set()
    return {at for at, score in scores.items() if _score(score) in top}
