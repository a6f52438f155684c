"""Records to publish: what the leaderboard reads of a run, without this machine's paths and without others' data.

Predictions stand beside the gold scores of the test sets, which are not ours to pass on. A packed record holds in
their place what the statistics make of them: each task's score under every resample (`leaderboard.replicates`).
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genembench.problem import Problem
from leaderboard.course import FILE as POINT
from leaderboard.course import read_course
from leaderboard.files import write_atomically
from leaderboard.inference import FILE as INFERENCE
from leaderboard.packed import FILE as REPLICATES
from leaderboard.predictions import FOLDER as PREDICTIONS
from leaderboard.records import Record
from leaderboard.replicates import Packing, write_all_replicates

# A string that is one absolute path, and one inside a string ("llm2vec:/models/a+/models/b"), but no URL.
_ALONE = re.compile(r"(?:~?/|[A-Za-z]:[\\/])(?:.*[\\/])?([^\\/\n]+)[\\/]?")
_PATH = re.compile(r"(?<![\w/.~-])(?:~|/(?=[^/\s]))(?:[^\s:,;+'\"()<>]*/)?([^\s/:,;+'\"()<>]*)")
_PLATFORM = re.compile(r"^([A-Za-z]+)-.*?-(x86_64|aarch64|arm64|AMD64).*$")


def pack(records: Sequence[Record], output: Path, *, predictions: bool = False, resamples: int = 10_000) -> list[Path]:
    """Write each record into ``output/runs/RUN`` and return the folders; one that stands there already is replaced.

    Args:
        records: What to publish, as ``read_records`` returns it.
        output: The folder; `genembench leaderboard build` takes it.
        predictions: Copy the predictions (pair ids, gold scores, cosines) themselves; only where the tasks' licences
            let you pass their gold scores on.
        resamples: How many resamples to keep of each task.
    """
    runs = output / "runs"
    targets = {record.run: runs / record.run for record in records}
    for record in records:
        if record.source.parent.resolve() == targets[record.run].resolve():
            raise Problem(f"{targets[record.run]} cannot be packed into itself", "Name another folder with --output.")
    runs.mkdir(parents=True, exist_ok=True)
    # All of them beside their final places first: what cannot be packed leaves nothing new.
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=runs) as partial:
        packings = [packing for record in records for packing in _pack(record, Path(partial) / record.run)]
        if predictions:
            _copy_predictions(packings)
        else:
            write_all_replicates(packings, resamples=resamples)
        for run, target in targets.items():
            shutil.rmtree(target, ignore_errors=True)
            (Path(partial) / run).replace(target)
    return list(targets.values())


def _pack(record: Record, folder: Path) -> list[Packing]:
    """Write the JSON files of one record, and return what else is to be packed."""
    source = record.source.parent
    _write_stripped(record.source, folder / "run.json")
    if (source / INFERENCE).is_file():
        _write_stripped(source / INFERENCE, folder / INFERENCE)
    packings = [Packing(source, folder, record.scores)]
    for point in read_course(record):
        place = folder / "course" / point.folder.name
        _write_stripped(point.folder / POINT, place / POINT)
        packings.append(Packing(point.folder, place, point.scores))
    return packings


def _copy_predictions(packings: Sequence[Packing]) -> None:
    """Copy the predictions as they are, and replicates where only these are left of them."""
    for packing in packings:
        if (packing.folder / PREDICTIONS).is_dir():
            shutil.copytree(packing.folder / PREDICTIONS, packing.destination / PREDICTIONS)
        elif (packing.folder / REPLICATES).is_file():
            shutil.copyfile(packing.folder / REPLICATES, packing.destination / REPLICATES)


def _write_stripped(file: Path, target: Path) -> None:
    """Copy a JSON file without paths."""
    value = strip(json.loads(file.read_text(encoding="utf-8")))
    write_atomically(target, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


def strip(value: Any, key: str = "") -> Any:
    """Return decoded JSON with every absolute path cut to its last part, and the platform to system and processor.

    Contents are addressed by their hashes, so nothing is lost that anybody else could use.
    """
    if isinstance(value, dict):
        # A method's settings hold no paths; a prompt with a slash in it is part of what was run.
        return {name: each if name == "config" else strip(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [strip(each, key) for each in value]
    if not isinstance(value, str):
        return value
    if key == "platform":
        return _PLATFORM.sub(r"\1-\2", value)
    if alone := _ALONE.fullmatch(value):
        return alone[1]
    return _PATH.sub(lambda match: match[1] or match[0], value)
