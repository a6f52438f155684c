"""Weights of trials that lost: once the winner is recorded nothing reads them, and each is a whole model.

Their records stay, and by those alone a repeated ``--tune`` knows that a trial is settled (`runners.tune_runs`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from runners.progress import say
from runners.spec import RunSpec
from runners.tune_results import Outcome
from runners.tune_runs import settled

_GOING = ".losing-"


def drop_losing_weights(found: Sequence[Outcome], plan: Iterable[RunSpec], output: Path) -> int:
    """Delete the trained stages that no run but losing trials stands on; return how many there were.

    What a stage left beside its weights goes into the folder of the trial's run, as ``metrics-STAGE.jsonl``.

    Args:
        found: What came of the trials. What is left of one that failed stays: it is run again.
        plan: The runs of the comparison, done or not.
        output: The output folder. Stages of runs that other commands have recorded there stay.
    """
    losers = [
        run for outcome in found for place, run in enumerate(outcome.runs) if place != outcome.best and settled(run)
    ]
    kept = {address for run in plan for address in run.stage_addresses}
    try:
        kept |= _recorded(output, {run.run for run in losers})
        return _drop_all(losers, kept, output / "stages")
    except (OSError, ValueError, KeyError, TypeError) as error:
        # A record that cannot be read may stand on any of them; and disk space is not worth the comparison.
        say(f"weights of losing trials stay: {type(error).__name__}: {error}")
        return 0


def _drop_all(losers: Iterable[RunSpec], kept: set[str], stages: Path) -> int:
    for folder in stages.glob(f"{_GOING}*"):
        shutil.rmtree(folder)  # Somebody was stopped here.
    dropped = 0
    for run in losers:
        for address in run.stage_addresses:
            folder = stages / address
            if address not in kept and folder.is_dir():
                _drop(folder, run.folder)
                dropped += 1
    return dropped


def _recorded(output: Path, losers: set[str]) -> set[str]:
    """Addresses of the stages that recorded runs other than ``losers`` stand on."""
    found: set[str] = set()
    for file in (output / "runs").glob("*/run.json"):
        if file.parent.name not in losers:
            try:
                record = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{file} cannot be read: {error}") from error
            found |= {stage["address"] for stage in record["costs"]["stages"]}
    return found


def _drop(folder: Path, run: Path) -> None:
    name = json.loads((folder / "stage.json").read_text(encoding="utf-8"))["stage"]
    metrics = folder / "metrics.jsonl"
    if metrics.is_file():
        shutil.copyfile(metrics, run / f"metrics-{name}.jsonl")
    # Under another name at once: half a stage must not be taken for a whole one.
    going = folder.with_name(f"{_GOING}{folder.name}")
    folder.replace(going)
    shutil.rmtree(going)
