"""The scores of a run for its model card, each with its 95 % interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from leaderboard.records import Record
from leaderboard.rows import Row
from leaderboard.statistics import Statistics

_METRICS = {"cosine_spearman": "Spearman's correlation of the cosine", "ndcg_at_10": "nDCG@10"}


Changed = Literal["nothing", "code", "weights"]
"""What is not as it was measured: the method's source alone, or the weights, the settings or more of the code."""
_WARNINGS: dict[Changed, str] = {
    "nothing": "",
    "code": (
        "The method's source file was edited since these scores were measured; weights and settings are the same ones."
    ),
    "weights": (
        "**These scores are not this encoder's**: weights, settings or the way to a vector were changed since they "
        "were measured. Measure again: `genembench evaluate`."
    ),
}


def scores(record: Record, changed: Changed) -> Iterator[str]:
    """Yield the section on scores, a line or a paragraph at a time.

    Args:
        record: The run's record; its folder holds the predictions that intervals are made from.
        changed: What is not as it was measured.
    """
    yield "## Scores\n"
    if not record.scores:
        yield "The encoder was trained and not measured.\n"
        return
    statistics = Statistics([Row(record.method.name, (record,))])
    counts = {score.task: score.pairs for score in record.scores}
    metrics = ", ".join(sorted({_METRICS.get(score.metric, score.metric) for score in record.scores}))
    rows = [(task, score, f"{counts[task]:,}") for task, score in record.task_scores().items()]
    averages = [(average.name, average.score, ", ".join(average.tasks)) for average in record.averages]
    yield f"| task | {metrics}, ×100 | 95 % interval | pairs |\n| --- | ---: | :---: | ---: |"
    found = []
    for name, score, pairs in rows + [(f"**{name}**", score, "") for name, score, _ in averages]:
        interval = statistics.interval(0, name.strip("*"))
        found.append(interval is not None)
        shown = f"{interval.low:.2f} to {interval.high:.2f}" if interval else "–"
        yield f"| {name} | {score:.2f} | {shown} | {pairs} |"
    yield ""
    for name, _, tasks in averages:
        yield f"{name} is the mean of {tasks}."
    yield from ["", f"{_caption(statistics, found)}\n"]
    if changed != "nothing":
        yield f"{_WARNINGS[changed]}\n"


def _caption(statistics: Statistics, found: list[bool]) -> str:
    if not any(found):
        return "No intervals: the run's folder has no predictions to resample."
    text = (
        f"Intervals are from {statistics.resamples:,} resamples of each task's test pairs: how far another sample of "
        "pairs would move the score. They say nothing of another seed."
    )
    return text if all(found) else f"{text} Where there is none, the run's folder has no predictions."
