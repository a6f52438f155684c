"""The two machine-readable files: ``leaderboard.csv``, the same to the byte whenever scores are, and ``costs.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from leaderboard.facts import Costs
from leaderboard.files import write_atomically
from leaderboard.records import Record
from leaderboard.rows import sort_key, task_names

SCORE_HEADER = ("run", "method", "backbone", "budget", "seed", "task", "score")
# Always there, so that files of different comparisons stack; other kinds follow by name.
KINDS = ("triplets", "instruct", "pairs", "text")


def write_scores(records: Iterable[Record], path: Path) -> Path:
    """Write one line per done run and task or average; scores are ×100, four decimals.

    Args:
        records: Any records, in any order; those without scores leave no line.
        path: The file to write.
    """
    lines: list[Sequence[object]] = [SCORE_HEADER]
    for record in sorted((record for record in records if record.done), key=sort_key):
        tasks = record.task_scores()
        scores = {name: tasks[name] for name in task_names([record]) if name in tasks} | record.average_scores()
        # Adding zero turns -0.0 into 0.0: the sign of nothing is not reproducible.
        lines += [(*_who(record), name, f"{round(score, 4) + 0.0:.4f}") for name, score in scores.items()]
    return write_atomically(path, _csv(lines))


def write_costs(records: Iterable[Record], path: Path) -> Path:
    """Write two lines per run, whatever its status: what is attributed to it and what was spent on it.

    Args:
        records: Any records, in any order.
        path: The file to write.
    """
    records = sorted(records, key=sort_key)
    accounts = [costs for record in records for costs in (record.costs.attributed, record.costs.spent)]
    seen = {kind for costs in accounts for kind in (*costs.unique_examples, *costs.examples_seen)}
    kinds = (*KINDS, *sorted(seen.difference(KINDS)))
    header = ("run", "method", "backbone", "budget", "seed", "accounting", *cost_names(kinds))
    lines: list[Sequence[object]] = [(*header, "evaluation_seconds", "status", "reason")]
    for record in records:
        evaluation = record.costs.evaluation
        after = (evaluation.seconds if evaluation else "", record.status, " ".join(record.reason.split()))
        for accounting, costs in (("attributed", record.costs.attributed), ("spent", record.costs.spent)):
            lines.append((*_who(record), accounting, *_flat(costs, kinds), *after))
    return write_atomically(path, _csv(lines))


def cost_names(kinds: Sequence[str] = KINDS) -> tuple[str, ...]:
    """Return the names of a flattened account's numbers, in the order ``costs.csv`` has them."""
    totals = ("real_tokens", "padded_tokens", "optimizer_steps", "model_flops", "training_seconds", "peak_memory_bytes")
    return (*(f"unique_{kind}" for kind in kinds), *(f"seen_{kind}" for kind in kinds), *totals)


def _flat(costs: Costs, kinds: Sequence[str]) -> tuple[float, ...]:
    """Return an account's numbers in the order of ``cost_names``."""
    return (
        *(costs.unique_examples.get(kind, 0) for kind in kinds),
        *(costs.examples_seen.get(kind, 0) for kind in kinds),
        *(costs.real_tokens, costs.padded_tokens, costs.optimizer_steps),
        *(costs.model_flops, costs.training_seconds, costs.peak_memory_bytes),
    )


def _who(record: Record) -> tuple[object, ...]:
    """Return what every line of both files begins with; a finished model has no backbone."""
    backbone = record.backbone.name if record.backbone else ""
    return (record.run, record.method.name, backbone, record.budget.label, record.seed)


def _csv(lines: Iterable[Sequence[object]]) -> bytes:
    """Encode lines as UTF-8 CSV with bare newlines on every platform."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode("utf-8")
