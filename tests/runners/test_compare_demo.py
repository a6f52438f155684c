"""The demo as a newcomer runs it, with the methods that train in seconds; it pre-trains its backbone all the same.

With GENEMBENCH_WHOLE_DEMO=1 it runs without any option, all methods: five minutes more.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from tests.conftest import Command

QUICK = ("untrained-last", "untrained-mean", "infonce-mean", "infonce-inbatch-mean")
TWINS = {
    "infonce-mean": "untrained-mean",
    "infonce-inbatch-last": "untrained-last",
    "infonce-inbatch-mean": "untrained-mean",
    "llm2vec": "untrained-mean",
}
WHOLE = os.environ.get("GENEMBENCH_WHOLE_DEMO") == "1"
RUNS = 14 if WHOLE else 6
needs_all = pytest.mark.skipif(not WHOLE, reason="takes five minutes more: GENEMBENCH_WHOLE_DEMO=1")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, genembench: Command) -> Path:
    """Folder in which `compare` has run, without options but perhaps the methods."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {"GENEMBENCH_CACHE": str(folder / "cache")}
    command = ["compare", *([] if WHOLE else ["--methods", ",".join(QUICK)])]
    finished = genembench(*command, cwd=folder, env=environment, timeout=1500)
    assert finished.returncode == 0, finished.stderr
    assert "this is the embedded demo" in finished.stderr
    assert f"{RUNS} of {RUNS} runs done. Written to results/demo:" in finished.stdout
    # The same command again trains nothing, and neither does the backbone.
    again = genembench(*command, cwd=folder, env=environment)
    assert again.stderr.count("done already") == RUNS
    assert "Pre-training" not in again.stderr
    assert again.stdout == finished.stdout
    return folder


def averages(demo: Path) -> dict[tuple[str, str], float]:
    """Return Demo(5) by method and budget."""
    with (demo / "results/demo/leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["method"], row["budget"]): float(row["score"]) for row in rows if row["task"] == "Demo(5)"}


def test_it_separates_methods_and_budgets(demo: Path) -> None:
    found = averages(demo)
    for method, twin in TWINS.items():
        if not WHOLE and method not in QUICK:
            continue
        assert found[method, "500"] > found[twin, "0"] + 5
        assert found[method, "2000"] > found[twin, "0"] + 5
        assert found[method, "2000"] > found[method, "500"] + 1


@needs_all
def test_reconstruction_and_contrast_need_more_than_a_few_examples(demo: Path) -> None:
    found = averages(demo)
    assert found["anchor-embedding", "2000"] > found["untrained-last", "0"] + 5
    assert found["anchor-embedding", "2000"] > found["anchor-embedding", "500"] + 5


def test_negatives_of_the_batch_help(demo: Path) -> None:
    found = averages(demo)
    assert found["infonce-inbatch-mean", "2000"] > found["infonce-mean", "2000"] + 3


def test_the_files_that_were_promised_are_there(demo: Path) -> None:
    output = demo / "results/demo"
    for name in ("leaderboard.csv", "leaderboard.md", "costs.csv", "pareto.png", "pareto.pdf", "config.json"):
        assert (output / name).stat().st_size > 0
    assert len(list((output / "runs").glob("*/run.json"))) == RUNS
    assert len(list((output / "stages").glob("prepared-*"))) == (2 if WHOLE else 0)
    assert len(list((output / "stages").iterdir())) == (2 + 2 * 9 if WHOLE else 2 * 2)
