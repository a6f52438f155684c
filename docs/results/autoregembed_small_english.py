"""AutoRegEmbed, its parts and its loss variants beside two contrastive baselines, equally tuned, on real English.

    python docs/results/autoregembed_small_english.py --backbone PATH --triplets FILE --instruct FILE --data-dir STS \
        --output DIR

Three comparisons in one output folder; run it again after a stop and it goes on where it was, for `compare` does only
what is not done. The tables of each are copied to ``OUTPUT/tables``.

1. ``10000``: every method tuned by three trials at budget 2,000 on held-out triplets, then trained on 10,000.
2. ``2000``: four methods at 2,000 with three seeds, with the values that the first comparison chose.
3. ``preset``: compression alone as the other variants stand on it (the preset's learning rate, whichever its own trials
   chose), at both budgets.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

COMPRESSION = "autoregembed-compress-only"
ALIGNED = ("autoregembed", "autoregembed-log-sigmoid", "autoregembed-kl", "autoregembed-js")
CONTRASTIVE = ("infonce-inbatch-mean", "infonce-last")
TRIALS = {
    COMPRESSION: ("compress_learning_rate", "3e-4,1e-3,3e-3"),
    **dict.fromkeys(ALIGNED, ("align_learning_rate", "1e-6,1e-5,1e-4")),
    "infonce-inbatch-mean": ("learning_rate", "1e-4,3e-4,1e-3"),
    "infonce-last": ("learning_rate", "3e-5,1e-4,3e-4"),
}
"""Three values each, around the presets'."""
TABLES = ("leaderboard.md", "leaderboard.csv", "costs.csv", "pareto.png", "tuning.csv")


def main() -> int:
    """Run the comparisons one after the other; return the first exit code that is not 0."""
    parser = argparse.ArgumentParser()
    for name in ("backbone", "triplets", "instruct", "data-dir", "output"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    output = Path(options.output)
    given = [
        *("--backbone", options.backbone, "--triplets", options.triplets, "--instruct", options.instruct),
        *("--data-dir", options.data_dir, "--skip-tasks", "STS22", "--preset", "small", "--output", options.output),
    ]
    tune = [argument for name, (key, values) in TRIALS.items() for argument in ("--tune", f"{name}.{key}={values}")]
    wanted = ["--methods", ",".join(TRIALS), "--budget", "10000", "--tune-budget", "2000", *tune]
    if code := _compare([*given, *wanted], output, "10000"):
        return code
    few = (COMPRESSION, ALIGNED[0], *CONTRASTIVE)
    chosen = [argument for name in few for argument in ("--set", _chosen(output / "tables/10000/tuning.csv", name))]
    wanted = ["--methods", ",".join(few), "--budget", "2000", "--seeds", "0,1,2", *chosen]
    if code := _compare([*given, *wanted], output, "2000"):
        return code
    for budget, seeds in (("2000", "0,1,2"), ("10000", "0")):
        wanted = ["--methods", COMPRESSION, "--budget", budget, "--seeds", seeds]
        if code := _compare([*given, *wanted], output, f"preset-{budget}"):
            return code
    return 0


def _compare(arguments: Sequence[str], output: Path, name: str) -> int:
    code = subprocess.run([sys.executable, "-m", "genembench", "compare", *arguments], check=False).returncode
    tables = output / "tables" / name
    tables.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        # The tuning is the first comparison's; it lies beside the tables of those that came after it too.
        if (output / table).exists() and (table != "tuning.csv" or name == "10000"):
            shutil.copy(output / table, tables / table)
    return code


def _chosen(file: Path, method: str) -> str:
    key = TRIALS[method][0]
    with file.open(encoding="utf-8", newline="") as rows:
        value = next(row[key] for row in csv.DictReader(rows) if row["method"] == method and row["chosen"] == "yes")
    return f"{method}.{key}={value}"


if __name__ == "__main__":
    sys.exit(main())
