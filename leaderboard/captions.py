"""What must be said with a table for its numbers to be read rightly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from leaderboard.columns import HEADERS, budget_text
from leaderboard.records import Record
from leaderboard.rows import Row, average_names, budget_size

METRICS = {"cosine_spearman": "Spearman ×100 of the cosine", "ndcg_at_10": "nDCG@10 ×100"}
NOISE = "Confidence intervals are not part of this table yet"


def metric_text(records: Iterable[Record], tasks: Collection[str] | None = None) -> str:
    """Name the metric (or metrics) of the scores, of all tasks or of these."""
    metrics = sorted({it.metric for record in records for it in record.scores if tasks is None or it.task in tasks})
    return ", ".join(METRICS.get(metric, metric) for metric in metrics)


def conditions(rows: Sequence[Row]) -> list[str]:
    """Say what all rows share: backbone, benchmark, metric, budget, seeds."""
    records = [record for row in rows for record in row.records]
    backbones = sorted({(it.backbone.name, it.backbone.parameters) for it in records if it.backbone})
    named = [f"{name} ({parameters:,} parameters)" for name, parameters in backbones] or ["none (finished models only)"]
    benchmarks = sorted({record.benchmark.name for record in records})
    budgets = {record.budget.label: budget_size(record) for record in records if record.budget.asked}
    labels = [budget_text(label) for label in sorted(budgets, key=lambda label: (budgets[label], label))]
    parts = [
        f"Backbone: {', '.join(named)}",
        f"Benchmark: {', '.join(benchmarks)}",
        f"Metric: {metric_text(records)}",
    ]
    if labels:
        parts.append(f"Budget: {' / '.join(labels)}")
    return [*parts, f"Seeds: {seeds_text(rows)}"]


def seeds_text(rows: Sequence[Row]) -> str:
    """Say how many seeds stand behind a row."""
    counts = sorted({len(row.records) for row in rows})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}, see the column"


def uncertainty(rows: Sequence[Row]) -> str:
    """Say how far the numbers can be trusted."""
    if max(len(row.records) for row in rows) == 1:
        return f"{NOISE}; with one seed, a difference between neighbouring rows may be noise."
    return (
        f"{NOISE}. Scores are means over seeds; ± is the sample standard deviation over seeds, given for the averages "
        "only. Differences of that size may be noise, and so may those of rows with a single seed."
    )


def averages_text(rows: Sequence[Row]) -> str:
    """Say which tasks each average is over; empty without averages."""
    records = [record for row in rows for record in row.records]
    tasks = {average.name: average.tasks for average in records[0].averages}
    return "; ".join(
        f"{name}: {', '.join(HEADERS.get(task, task) for task in tasks[name])}" for name in average_names(records)
    )
