"""What is committed under docs/results follows, to the byte, from the records that are committed beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from leaderboard.build import TABLES
from leaderboard.csv_files import write_costs, write_differences, write_scores, write_wide
from leaderboard.latex import latex_tables
from leaderboard.packed import FILE
from leaderboard.records import read_records
from leaderboard.rows import build_rows
from leaderboard.statistics import Statistics

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = sorted(folder.parent for folder in RESULTS.glob("*/runs"))


def test_there_is_something_to_rebuild() -> None:
    assert {folder.name for folder in FOLDERS} >= {"demo", "methods-small-english"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_tables_are_rebuilt_to_the_byte(folder: Path, tmp_path: Path) -> None:
    records = read_records([folder])
    statistics = Statistics(build_rows(records), resamples=_resamples(folder))
    write_scores(records, tmp_path / "leaderboard.csv", statistics)
    write_wide(records, tmp_path / "leaderboard_wide.csv", statistics)
    write_differences(records, tmp_path / "differences.csv", statistics)
    write_costs(records, tmp_path / "costs.csv")
    for name, text in latex_tables(records, statistics=statistics).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    rebuilt = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(rebuilt) >= 6
    for name, content in rebuilt.items():
        assert content == (folder / name).read_bytes(), f"{folder.name}/{name}"
    assert {path.name for path in folder.iterdir() if path.name in TABLES} <= rebuilt.keys()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_records_name_no_place_on_a_machine(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.suffix in (".json", ".csv", ".md", ".tex")]
    assert len(files) > 10
    for file in files:
        text = file.read_text(encoding="utf-8")
        # Two folders deep, at the start of a word: a path. (</sup> is not.)
        assert not re.findall(r"""(?<![\w.<:/])/\w[\w.-]*/\w""", text), file


def _resamples(folder: Path) -> int:
    """As many as the packed records hold; records with predictions give any number."""
    packed = next(folder.glob(f"runs/*/{FILE}"), None)
    if packed is None:
        return 10_000
    with np.load(packed, allow_pickle=False) as stored:
        return int(stored["replicates"].shape[1])
