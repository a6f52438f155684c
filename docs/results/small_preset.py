"""How the preset ``small`` of the InfoNCE methods was chosen: held-out retrieval on NLI triplets, no STS set involved.

Each setting trains on the first N triplets of the order of seed 0 and is scored on triplets whose queries it has never
seen: the mean reciprocal rank of each query's positive among all positives and negatives of the held-out slice.

    python docs/results/small_preset.py --backbone PATH --triplets FILE [--budget 2000] > docs/results/small-preset.csv
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.training_data import load_training_data
from methods.encoder import make_encoder
from methods.registry import discover
from runners.engine import Engine
from runners.outcomes import StageData, StageOutcome
from runners.stages import FromFiles, train_stage
from runners.worker import silence

GRID = {
    "learning_rate": ["1e-4", "3e-4", "1e-3"],
    "temperature": ["0.02", "0.05", "0.1"],
    "epochs": ["1"],
    "batch_size": ["32", "64"],
}


def main() -> None:
    """Print one line a setting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", required=True, type=Path)
    parser.add_argument("--triplets", required=True)
    parser.add_argument("--methods", default="infonce-mean,infonce-inbatch-mean")
    parser.add_argument("--budget", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=1000)
    for key, values in GRID.items():
        parser.add_argument(f"--{key.replace('_', '-')}", default=",".join(values))
    options = parser.parse_args()
    silence()
    registry, engine = discover(), Engine()
    data = load_training_data("triplets", options.triplets, mapping={}, seed=0, held_out=None)
    train = data.take(options.budget)
    seen = {row["query"] for row in train.rows}
    held_out = [row for row in reversed(data.rows) if row["query"] not in seen][: options.held_out]
    queries = [row["query"] for row in held_out]
    documents = [row["positive"] for row in held_out] + [row["negative"][0] for row in held_out]
    print("method,budget," + ",".join(GRID) + ",mrr,own_negative_accuracy,seconds")
    grid = [getattr(options, key).split(",") for key in GRID]
    for name in options.methods.split(","):
        for values in itertools.product(*grid):
            entry = registry.get(name)
            method = entry.create("small", dict(zip(GRID, values, strict=True)))
            with tempfile.TemporaryDirectory() as folder:
                weights, seconds = options.backbone, 0.0
                for stage in method.stages():
                    outcomes: list[StageOutcome] = []
                    train_stage(
                        stage,
                        stage.name,
                        label=f"{name} {' '.join(values)}",
                        start=FromFiles(options.backbone, weights, engine),
                        data=StageData("triplets", train.ids, train.rows),
                        engine=engine,
                        seed=0,
                        stages=Path(folder),
                        payer="trial",
                        outcomes=outcomes,
                    )
                    weights, seconds = outcomes[-1].weights, outcomes[-1].costs.training_seconds
                encoder = make_encoder(name, method, entry.source, weights)
                similarity = encoder.encode(queries, "query") @ encoder.encode(documents, "document").T
            own = np.diagonal(similarity)[:, None]
            ranks = (similarity >= own).sum(axis=1)
            negatives = similarity[np.arange(len(queries)), len(queries) + np.arange(len(queries))]
            scores = f"{(1 / ranks).mean():.4f},{(own[:, 0] > negatives).mean():.4f},{seconds:.0f}"
            print(",".join([name, str(options.budget), *values, scores]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
