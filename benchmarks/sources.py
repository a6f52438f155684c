"""Where training data can come from: one place decides by what was given, whatever the kind of data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from benchmarks.arrow_rows import rows_of
from benchmarks.demo.rows import demo_rows
from benchmarks.files import read_records
from benchmarks.hub_datasets import HUB_FORM, HUB_PREFIX, open_hub_dataset, parse_hub_dataset
from benchmarks.kinds import fields_listed, kind_of, normalise
from benchmarks.parquet_files import is_parquet, read_parquet
from genembench.problem import Problem

DEMO = "demo"
_PARQUET = (".parquet",)
_LINES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class Rows:
    """Rows on their way in.

    Args:
        path: Where they come from, for messages and records: the path as given, or the exact dataset of the hub.
        rows: The rows, checked and with our field names; can be gone through once.
    """

    path: str
    rows: Iterator[dict[str, Any]]


def read_rows(source: str | PathLike[str], kind: str, mapping: Mapping[str, str]) -> Rows:
    """Read training data from a file, a folder or the hub.

    Args:
        source: One of

            * a file: Parquet, recognised by its first bytes, or JSON lines, plain or compressed with gzip;
            * a folder of such files, called ``*.parquet`` or else ``*.jsonl`` and ``*.jsonl.gz``, read in the order of
              their names; what begins with a dot or is called otherwise is passed over;
            * ``demo``, the rows of the embedded demo (a file of that name is ``./demo``);
            * ``hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]``, a dataset of the hub. Without ``hf:`` it is always a path,
              so that a mistyped one never becomes a download.
        kind: One of ``benchmarks.kinds.KINDS``.
        mapping: Our field to the source's field; empty if they are the same.

    Raises:
        Problem: The source cannot be used, here or when its rows are gone through. Files are opened only then.
    """
    kind_of(kind)
    given = str(source)
    if given == DEMO:
        if mapping:
            raise Problem(f"the demo's {kind} have our field names already", "Leave out --map.")
        return Rows(given, (normalise(kind, row, f"demo {kind}") for row in demo_rows(kind)))
    if given.startswith(HUB_PREFIX):
        exact, tables = open_hub_dataset(parse_hub_dataset(given))
        return Rows(str(exact), rows_of(tables, str(exact), kind, mapping))
    path = Path(source)
    files = _shards(path) if _is_folder(path) else [path]
    return Rows(given, (row for file in files for row in _read_file(file, kind, mapping)))


def _read_file(path: Path, kind: str, mapping: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    return (read_parquet if is_parquet(path) else read_records)(path, kind, mapping)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # Opening it says why.


def _shards(folder: Path) -> list[Path]:
    """Return the files of a folder that hold the data, all of one format."""
    try:
        inside = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    except OSError as error:
        raise Problem(
            f"{folder}: the folder cannot be read ({error.strerror or error})", "Give another one."
        ) from error
    parquet, lines = ([file for file in inside if file.name.lower().endswith(ends)] for ends in (_PARQUET, _LINES))
    if bool(parquet) != bool(lines):
        return parquet or lines
    what = (
        f"holds both Parquet files ({len(parquet)}) and JSON lines ({len(lines)})"
        if parquet
        else "is a folder without *.parquet, *.jsonl or *.jsonl.gz"
    )
    names = fields_listed([f"{child.name}/" if _is_folder(child) else child.name for child in inside])
    raise Problem(
        f"{folder}: {what}; in it: {names}",
        f"Give one file, a folder with shards of one format, or a dataset of the hub as {HUB_FORM}.",
    )
