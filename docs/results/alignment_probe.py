"""What alignment does to a compressed encoder: S1, S2, log-probabilities and the geometry, setting by setting.

Starts from the compression stage of a finished run, trains the align stage of each setting on the first N triplets of
seed 0, and prints what ``metrics.jsonl`` says at the beginning and the end, with the held-out retrieval of both.

    python docs/results/alignment_probe.py --backbone PATH --triplets FILE --weights OUTPUT/stages/ADDRESS/weights \
        [--examples 1024] autoregembed,align_learning_rate=1e-4 autoregembed-js,align_learning_rate=3e-4

With ``hard_negatives`` above 1 a triplet's further negatives are those of other triplets, drawn at random.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.held_out import held_out_triplets
from benchmarks.training_data import Row, load_training_data
from methods.contract import Method, Stage
from methods.encoder import make_encoder
from methods.registry import discover
from runners.engine import Engine
from runners.outcomes import StageData, StageOutcome
from runners.stages import FromFiles, train_stage
from runners.worker import silence

NEAR = 4
"""Steps on either side over which a diagnostic is averaged: single batches of 32 are noisy."""


def main() -> None:
    """Print one line for each setting, and one for the start."""
    parser = argparse.ArgumentParser()
    for name in ("backbone", "weights"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--triplets", required=True)
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("settings", nargs="+", metavar="METHOD[,KEY=VALUE...]")
    options = parser.parse_args()
    silence()
    registry = discover()
    data = load_training_data("triplets", options.triplets, mapping={}, seed=0, held_out=None)
    train = data.take(options.examples)
    held_out = held_out_triplets(data, options.examples, 300)
    others = [row["negative"][0] for row in train.rows]
    source = random.Random(0)
    for number, setting in enumerate(options.settings):
        name, *overrides = setting.split(",")
        entry = registry.get(name)
        method = entry.create("small", dict(one.split("=", 1) for one in overrides))
        stage = method.stages()[-1]
        rows: list[Row] = list(train.rows)
        if (count := getattr(method, "hard_negatives", 1)) > 1:
            rows = [{**row, "negative": [row["negative"][0], *source.sample(others, count - 1)]} for row in rows]
        if number == 0:
            print(f"start: held-out MRR {_mrr(name, method, entry.source, options.weights, held_out):.3f}")
        with tempfile.TemporaryDirectory() as folder:
            weights = _train(stage, StageData("triplets", train.ids, tuple(rows)), options, Path(folder), held_out)
            lines = (weights.parent / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            metrics = [json.loads(line) for line in lines]
            print(f"{setting}: held-out MRR {_mrr(name, method, entry.source, weights, held_out):.3f}")
        for step in (metrics[0]["step"], metrics[-1]["step"]):
            print(f"   step {step}: {_seen(metrics, step)}", flush=True)


def _train(stage: Stage, data: StageData, options: argparse.Namespace, folder: Path, held_out: Any) -> Path:
    engine = replace(Engine(), checkpoint_seconds=float("inf"))
    outcomes: list[StageOutcome] = []
    train_stage(
        stage,
        "probe",
        label="probe",
        start=FromFiles(options.backbone, options.weights, engine),
        data=data,
        engine=engine,
        seed=0,
        stages=folder,
        payer="probe",
        outcomes=outcomes,
        preparation=None if stage.preparation() is None else "probe",
        held_out=held_out[:128],
    )
    return outcomes[-1].weights


def _seen(metrics: list[dict[str, Any]], step: int) -> str:
    near = [line for line in metrics if abs(line["step"] - step) <= NEAR]
    names = [name for name in near[0] if name.startswith("diagnostic/")]
    means = {name.removeprefix("diagnostic/"): fmean(line[name] for line in near) for name in names}
    held = {name.removeprefix("held_out/"): value for name, value in metrics[step - 1].items() if "held_out/" in name}
    return "  ".join(f"{name} {value:.2f}" for name, value in (means | held).items())


def _mrr(name: str, method: Method, source: str, weights: Path, held_out: Any) -> float:
    encoder = make_encoder(name, method, source, weights)
    queries = encoder.encode([row["query"] for row in held_out], "query")
    texts = [row["positive"] for row in held_out] + [row["negative"][0] for row in held_out]
    similarity = queries @ encoder.encode(texts, "document").T
    own = np.diagonal(similarity)[:, None]
    return float((1 / (similarity >= own).sum(axis=1)).mean())


if __name__ == "__main__":
    main()
