"""Which score decides: the average over the most tasks that all rows share."""

from __future__ import annotations

from collections.abc import Iterable

from leaderboard.rows import Row, task_names


def shared_averages(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Return the averages that every run has over the same tasks, name to tasks, in the first run's order.

    Rows that are marked as not comparable have no say.
    """
    each = [
        {average.name: average.tasks for average in record.averages}
        for row in rows
        if not row.mark
        for record in row.records
    ]
    first = each[0] if each else {}
    return {name: tasks for name, tasks in first.items() if all(other.get(name) == tasks for other in each)}


def headline(rows: Iterable[Row]) -> tuple[str, tuple[str, ...]] | None:
    """Return the score that rows are ranked by and its tasks: the shared average over the most of them.

    A benchmark of one task has no average; there it is the task. None where neither exists.
    """
    rows = [row for row in rows if not row.mark]
    averages = shared_averages(rows)
    if averages:
        name = max(averages, key=lambda name: len(averages[name]))  # the first of several as wide
        return name, averages[name]
    tasks = task_names(record for row in rows for record in row.records)
    return (tasks[0], (tasks[0],)) if len(tasks) == 1 else None


def score(row: Row, name: str) -> float | None:
    """Return a row's average or task of this name; None unless every seed has it."""
    average = row.average(name)
    return row.task(name) if average is None else average
