"""What is exported: a run's encoder, found from the run's folder, its own, or the output folder of one run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genembench.problem import Problem
from leaderboard.records import Record
from leaderboard.schema import parse
from methods.encoder import MANIFEST
from runners.output import RECORD, refuse_unfinished

_WHAT_TO_GIVE = "Give a folder runs/<id> of an output folder of `genembench compare` or `genembench train`."
_SHOWN = 12


@dataclass(frozen=True)
class Source:
    """An encoder and what is known of how it came about.

    Attributes:
        folder: The encoder's folder; it holds its manifest.
        weights: The folder of its weights, its stage's or, where nothing was trained, the backbone's.
        record: The run's record; None for an encoder that stands alone.
        raw: The record as it stands in its file.
    """

    folder: Path
    weights: Path
    record: Record | None
    raw: dict[str, Any] | None


def find_source(given: Path) -> Source:
    """Find the encoder that a path stands for, without loading it.

    Args:
        given: A run's folder, the encoder's in it (or anywhere else), or an output folder of one run.

    Raises:
        Problem: there is none, its run is not done, or its weights are gone.
    """
    encoder, run = _folders(given)
    record, raw = (None, None) if run is None else _read_record(run)
    if not (encoder / MANIFEST).is_file():
        raise Problem(f"{given} holds no encoder: there is no {encoder / MANIFEST}", _WHAT_TO_GIVE)
    return Source(encoder, _weights(encoder, record), record, raw)


def _folders(given: Path) -> tuple[Path, Path | None]:
    """Return the folder that should hold the encoder, and the run's if there is a record."""
    if not given.is_dir():
        raise Problem(f"there is no folder {given}", _WHAT_TO_GIVE)
    if (given / MANIFEST).is_file():
        # Resolved, so that its parent is the run's folder whatever was typed.
        run = given.resolve().parent
        return given, run if (run / RECORD).is_file() else None
    if (given / RECORD).is_file():
        return given / "encoder", given
    if (given / "encoder" / MANIFEST).is_file() and not given.name.startswith(".partial-"):
        return given / "encoder", None
    runs = sorted(file.parent for file in given.glob(f"runs/*/{RECORD}"))
    if len(runs) == 1:
        return runs[0] / "encoder", runs[0]
    if runs:
        names = [f"{given}/runs/{run.name}" for run in runs]
        more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise Problem(f"{given} holds {len(runs)} runs", f"Give one of them: {', '.join(names[:_SHOWN])}{more}.")
    refuse_unfinished(given)
    raise Problem(f"{given} is no run: it has neither {RECORD} nor {MANIFEST}", _WHAT_TO_GIVE)


def _read_record(run: Path) -> tuple[Record, dict[str, Any]]:
    file = run / RECORD
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"{file} cannot be read: {error}", _WHAT_TO_GIVE) from error
    # `genembench train` measures nothing, which a leaderboard's record may not.
    measured = isinstance(raw, dict) and (raw.get("scores") or raw.get("status") != "done")
    record = Record.from_json(raw, file) if measured else parse(Record, raw, file)
    if not record.done:
        raise Problem(
            f"run {record.run} left nothing to export: it is {record.status} ({record.reason})",
            "The command that started it, given again, goes on with it.",
        )
    if record.finished_model:
        raise Problem(
            f"run {record.run} only measured a finished model, {record.method.name}",
            "That model is what it is; give a run of a method.",
        )
    return record, raw


def _weights(encoder: Path, record: Record | None) -> Path:
    file = encoder / MANIFEST
    try:
        weights = encoder / str(json.loads(file.read_text(encoding="utf-8"))["weights"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(f"{file} cannot be read: {error!r}", "Train the encoder again.") from error
    if (weights / "config.json").is_file() and any(weights.glob("model*.safetensors")):
        return weights
    whose = str(encoder) if record is None else f"run {record.run}"
    if record is not None and not record.costs.stages:
        hint = "Nothing was trained, so they are the backbone's own: bring it back to where it was."
    elif record is not None:
        command = "train" if "method" in record.configuration else "compare"
        again = f"genembench {command} --config {record.run}/{RECORD} --output NEW"
        hint = f"Bring back the folder, or make them again: {again}"
    else:
        hint = "They stood there when it was trained: bring the folder back."
    raise Problem(f"the weights of {whose} are gone: there is no model in {weights}", hint)
