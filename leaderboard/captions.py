"""What must be said with a table for its numbers to be read rightly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from leaderboard.board import Board
from leaderboard.columns import HEADERS, budget_text
from leaderboard.inference import read_inference
from leaderboard.records import Record
from leaderboard.rows import FINISHED, Row, budget_size, task_names

METRICS = {"cosine_spearman": "Spearman ×100 of the cosine", "ndcg_at_10": "nDCG@10 ×100"}
VOLUME = (
    "Vol. is the number of unique training examples: triplets, and in brackets those of other kinds; "
    "0 is training-free, – is unknown."
)
OUTSIDE = f"{FINISHED} were trained elsewhere, on other data and at unknown cost: a reference, not a competitor."
COSTS = (
    "What each method costs by itself (attributed): a stage that several runs share is charged in full to each. "
    "Where this comparison spent something else on a row (a shared stage is trained once), that stands behind the "
    "slash. Unique and Seen count examples of all kinds, Tokens are without padding, FLOPs and Training without "
    "evaluation."
)


def metric_text(records: Iterable[Record], tasks: Collection[str] | None = None) -> str:
    """Name the metric (or metrics) of the scores, of all tasks or of these."""
    metrics = sorted({it.metric for record in records for it in record.scores if tasks is None or it.task in tasks})
    return ", ".join(METRICS.get(metric, metric) for metric in metrics)


def conditions(rows: Sequence[Row]) -> list[str]:
    """Say what all rows share: backbone, benchmark, metric, budget, seeds. Marked rows are not asked."""
    rows = [row for row in rows if not row.mark] or rows
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


def conditions_text(board: Board) -> str:
    """Say in one paragraph what all rows share."""
    return ". ".join(conditions(board.rows)) + "."


def seeds_text(rows: Sequence[Row]) -> str:
    """Say how many seeds stand behind a row."""
    counts = sorted({len(row.records) for row in rows})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}, see the column"


def uncertainty(board: Board) -> str:
    """Say how far the numbers can be trusted."""
    known = {bool(board.statistics.interval(at, name)) for at in range(len(board.rows)) for name in _bounded(board)}
    deviations = any(row.deviation(name) is not None for row in board.rows for name in _bounded(board))
    sample = "± is the sample standard deviation over seeds, which says nothing of the test pairs."
    if True not in known:
        lack = "No confidence intervals: they need the predictions of every task of an average, which are not at hand."
        if deviations:
            return f"{lack} Scores are means over seeds; {sample} Differences of that size may be noise."
        return f"{lack} A difference between neighbouring rows may be noise."
    parts = [f"In brackets: 95 % intervals from {board.statistics.resamples:,} resamples of each task's {_unit(board)}"]
    parts[0] += _seeds_in_intervals(board)
    if False in known:
        lack = "Rows without brackets have no predictions"
        parts.append(f"{lack}; {sample}" if deviations else f"{lack}.")
    return " ".join(parts)


def _seeds_in_intervals(board: Board) -> str:
    """Say whether seeds are part of the intervals."""
    counts = {len(row.records) for row in board.rows}
    pairs_only = "test-pair uncertainty only: what another seed would change is not part of them"
    combined = "a t-based component for the seeds; scores are means over seeds"
    if counts == {1}:
        return f"; with one seed they are {pairs_only}."
    if 1 not in counts:
        return f", combined with {combined}."
    return f". With several seeds they are combined with {combined}; with one seed they are {pairs_only}."


def _bounded(board: Board) -> list[str]:
    """Return the scores whose intervals a table shows."""
    return list(dict.fromkeys([*board.averages, *([board.headline] if board.headline else [])]))


def _unit(board: Board) -> str:
    """Name what is resampled."""
    metrics = {it.metric for row in board.rows for record in row.records for it in record.scores}
    return "pairs" if metrics <= {"cosine_spearman"} else "pairs (of retrieval, its queries)"


def ranks(board: Board) -> str:
    """Say what bold, underlining, a rank and its letters mean; empty where no rows compete."""
    contests = board.statistics.contests
    if not contests:
        return ""
    several = len(contests) > 1
    aside = [FINISHED.lower()] if any(row.first.finished_model for row in board.rows) else []
    aside += ["marked rows"] if board.marks else []
    bold = f"Bold is the best of a column{' at its budget' if several else ''}"
    bold += f", {' and '.join(aside)} aside" if aside else ""
    shown = [*task_names(record for row in board.rows for record in row.records), *board.averages]
    level = any(board.statistics.level(name) for name in shown)
    ranked = any(board.statistics.standing(at, board.headline) for at in range(len(board.rows)) if board.headline)
    if level:
        bold += ", underlined is what is not significantly worse than it"
    parts = [f"{bold}."]
    if ranked:
        parts.append(
            f"Rank: the best and the worst place by {board.headline} that the comparisons leave open; rows that share "
            "a letter cannot be told apart."
        )
    if level or ranked:
        rivals = " of one budget, and those that train nothing (in every budget, so without a rank)" if several else ""
        parts.append(
            f"Compared are all rows{rivals}, two by two on the same {_unit(board)}, at the 5 % level after Holm's "
            "correction over all these comparisons."
        )
    return " ".join(parts)


def averages_text(board: Board) -> str:
    """Say which tasks each average is over; empty without averages."""
    said = (f"{name}: {', '.join(HEADERS.get(task, task) for task in tasks)}" for name, tasks in board.averages.items())
    return "; ".join(said)


def marks_text(board: Board) -> str:
    """Say what the signs of rows that are not comparable mean; empty without any."""
    said = [f"{sign} {meaning}" for sign, meaning in board.marks.items()]
    return f"{'; '.join(said)}: not comparable with the other rows, in no rank and no test." if said else ""


def probe_text(board: Board) -> str:
    """Say where and on what the cost of using an encoder was measured; empty where it was not."""
    places: dict[str, list[str]] = {}
    for row in board.rows:
        found = [it for record in row.records if (it := read_inference(record))]
        for it in found[:1]:
            threads = f"{it.threads} thread{'' if it.threads == 1 else 's'}"
            place = f"{it.texts:,} texts on {it.device} with {threads}, {it.precision}"
            places.setdefault(place, []).append(row.label)
    if not places:
        return ""
    what = "Texts/s is the median of several passes, without loading the model; – was not measured. Measured: "
    if len(places) == 1:
        return f"{what}{next(iter(places))}."
    where = "; ".join(f"{place} ({', '.join(rows)})" for place, rows in places.items())
    return f"{what}{where}. Texts/s of rows that were measured in different ways cannot be compared."
