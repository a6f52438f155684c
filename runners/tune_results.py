"""What came of the trials of ``--tune``: who won, what the records say of it, a table and ``tuning.csv``."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from runners.output import write_text
from runners.records import read_status
from runners.spec import RunSpec
from runners.tune import Axis, Trial
from runners.tune_runs import Tuning


@dataclass(frozen=True)
class Outcome:
    """What came of one method's trials.

    Attributes:
        method: The method's name.
        trials: Its trials, in order.
        runs: Their runs.
        statuses: How each ended.
        scores: Each one's score, None where there is none.
        metric: What the score is.
        best: The place of the trial that won; None where none was done.
    """

    method: str
    trials: tuple[Trial, ...]
    runs: tuple[RunSpec, ...]
    statuses: tuple[str, ...]
    scores: tuple[float | None, ...]
    metric: str
    best: int | None

    @property
    def best_trial(self) -> Trial | None:
        """The trial that won."""
        return None if self.best is None else self.trials[self.best]

    @property
    def chosen(self) -> dict[str, Any]:
        """The values that won, as the method has them."""
        trial = self.best_trial
        return {} if trial is None else {key: getattr(trial.chosen[2], key) for key in trial.values}


def outcomes(tuning: Tuning) -> list[Outcome]:
    """Read the records of the trials and choose, method by method."""
    found = []
    for method in dict.fromkeys(trial.method for trial in tuning.trials):
        places = [place for place, trial in enumerate(tuning.trials) if trial.method == method]
        runs = [tuning.runs[place] for place in places]
        statuses = [read_status(run.folder) or "not run" for run in runs]
        measured = [
            json.loads((run.folder / "run.json").read_text(encoding="utf-8"))["scores"][0] if status == "done" else None
            for run, status in zip(runs, statuses, strict=True)
        ]
        scores = tuple(None if score is None else float(score["score"]) for score in measured)
        metric = next((str(score["metric"]) for score in measured if score is not None), "")
        trials = tuple(tuning.trials[place] for place in places)
        found.append(Outcome(method, trials, tuple(runs), tuple(statuses), scores, metric, winner(scores)))
    return found


def facts(outcome: Outcome, tuning: Tuning) -> dict[str, Any]:
    """Say for the records how a method was tuned."""
    return {
        "trials": len(outcome.trials),
        "on": "held-out triplets",
        "rows": tuning.rows,
        "metric": outcome.metric,
        "budget": tuning.budget.label,
        "chosen": outcome.chosen,
    }


def table(outcome: Outcome, tuning: Tuning) -> str:
    """Lay out one method's trials for the terminal."""
    keys = list(outcome.trials[0].values)
    cells = [["", "trial", *keys, outcome.metric or "score", ""]]
    for place, (trial, status, score) in enumerate(zip(outcome.trials, outcome.statuses, outcome.scores, strict=True)):
        best = place == outcome.best
        shown = status if score is None else f"{score:.2f}"
        cells.append(["*" if best else "", str(trial.number), *trial.values.values(), shown, "chosen" if best else ""])
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    lines = [
        f"{outcome.method}: {len(outcome.trials)} trials, trained on {tuning.budget.label} with seed {tuning.seed}, "
        f"scored on {tuning.rows} held-out triplets"
    ]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    if outcome.best_trial is None:
        return "\n".join([*lines, f"No trial of {outcome.method} is done: it is left out of the comparison."])
    for axis in tuning.axes[outcome.method]:
        value = outcome.best_trial.values[axis.keys[0]]
        edge = at_edge(axis, value)
        if edge:
            lines.append(f"{', '.join(axis.keys)}: {value} is the {edge} value tried; a better one may lie beyond.")
    return "\n".join(lines)


def write_table(found: Sequence[Outcome], tuning: Tuning, file: Path) -> None:
    """Write every trial of every method as CSV."""
    keys = list(dict.fromkeys(key for outcome in found for key in outcome.trials[0].values))
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "trial", *keys, "budget", "seed", "metric", "score", "status", "run", "chosen"])
    for outcome in found:
        for place, (trial, run) in enumerate(zip(outcome.trials, outcome.runs, strict=True)):
            score = outcome.scores[place]
            writer.writerow(
                [
                    outcome.method,
                    trial.number,
                    *(trial.values.get(key, "") for key in keys),
                    tuning.budget.label,
                    tuning.seed,
                    outcome.metric,
                    "" if score is None else f"{score:.4f}",
                    outcome.statuses[place],
                    run.run,
                    "yes" if place == outcome.best else "no",
                ]
            )
    write_text(file, text.getvalue())


def winner(scores: Sequence[float | None]) -> int | None:
    """Return the place of the highest score, of equal ones the first; None where no trial has one."""
    done = [score for score in scores if score is not None]
    return scores.index(max(done)) if done else None


def at_edge(axis: Axis, value: str) -> str:
    """Say which end of the tried numbers ``value`` is: "lowest", "highest", or "" for neither."""
    try:
        numbers = sorted({float(each) for each in axis.values})
    except ValueError:  # words have no order
        return ""
    if len(numbers) < 2 or float(value) not in (numbers[0], numbers[-1]):
        return ""
    return "lowest" if float(value) == numbers[0] else "highest"
