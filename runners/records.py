"""What a run leaves behind: ``run.json`` and the per-task results that it is made of."""

from __future__ import annotations

import csv
import json
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

from benchmarks.evaluate import Prediction, TaskScore
from benchmarks.suite import Benchmark
from methods.contract import Method
from runners.meter import total
from runners.outcomes import StageOutcome, attributed, spent
from runners.output import write_json, write_text
from runners.spec import RunSpec

SCHEMA = 1
PACKAGES = ("genembench", "torch", "transformers", "accelerate", "peft", "mteb", "sentence-transformers", "numpy")


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment(attention: str, device: str) -> dict[str, Any]:
    """Return what the run was executed with."""
    import torch

    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "attention": attention,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _device_name(device: str) -> str:
    if device != "cuda":
        return platform.processor() or platform.machine()
    import torch

    try:
        return torch.cuda.get_device_name()
    except RuntimeError as error:  # a record must be written even where the device is why the run failed
        return f"cuda, not to be had: {str(error).splitlines()[0]}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class TaskResults:
    """Results task by task in a run's folder: each is on disk as soon as it exists, and a resumed run reads it back.

    Args:
        folder: The run's folder.
        address: Evaluation address; results of another encoder or benchmark are not taken.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address

    def done(self) -> dict[str, tuple[TaskScore, dict[str, float]]]:
        """Return the scores, and their costs, that are already there."""
        found = {}
        for file in sorted((self.folder / "tasks").glob("*.json")):
            stored = json.loads(file.read_text(encoding="utf-8"))
            if stored["evaluation_address"] == self.address:
                found[stored["score"]["task"]] = TaskScore(**stored["score"]), stored["costs"]
        return found

    def add(self, score: TaskScore, predictions: Sequence[Prediction], costs: Mapping[str, float]) -> None:
        """Write one task's predictions, then its score: a score is never there without its predictions.

        Of an STS task the file holds ``pair,gold,score``, of a retrieval task ``query,score``.
        """
        if predictions:
            text = StringIO()
            writer = csv.writer(text, lineterminator="\n")
            if all(p.gold is None for p in predictions):
                writer.writerow(["query", "score"])
                writer.writerows((p.pair, f"{p.score:.9g}") for p in predictions)
            else:
                writer.writerow(["pair", "gold", "score"])
                writer.writerows((p.pair, p.gold, f"{p.score:.9g}") for p in predictions)
            write_text(self.folder / "predictions" / f"{score.task}.csv", text.getvalue())
        stored = {"evaluation_address": self.address, "score": asdict(score), "costs": dict(costs)}
        write_json(self.folder / "tasks" / f"{score.task}.json", stored)


def method_facts(spec: RunSpec, method: Method | None, source: str) -> dict[str, Any]:
    """Say what made the encoder."""
    if method is None or spec.method is None:
        facts = {"family": "Finished models", "preset": "", "config": {}, "needs": [], "source": ""}
        return {"name": spec.label, **facts}
    return {
        "name": spec.method.name,
        "family": method.facts.family,
        "preset": spec.method.preset,
        "config": method.config(),
        "needs": list(method.needs),
        "source": source,
    }


def scored(benchmark: Benchmark, results: Mapping[str, tuple[TaskScore, Mapping[str, float]]]) -> dict[str, Any]:
    """Return scores and averages as a record and a point of its course hold them, in the benchmark's order."""
    scores = [results[task][0] for task in benchmark.tasks if task in results]
    averages = benchmark.average({score.task: score.score for score in scores})
    return {
        "scores": [{key: value for key, value in asdict(score).items() if key != "seconds"} for score in scores],
        "averages": [asdict(average) | {"tasks": list(average.tasks)} for average in averages],
    }


def make_record(
    spec: RunSpec,
    *,
    status: str,
    reason: str,
    method: dict[str, Any],
    started: str,
    stages: Sequence[StageOutcome] = (),
    evaluation_address: str | None = None,
    results: Mapping[str, tuple[TaskScore, dict[str, float]]] | None = None,
    environment_facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Assemble ``run.json``. Scores stand in it only when the run is done."""
    tasks = spec.benchmark.tasks if spec.benchmark else ()
    done = results if results and status == "done" else {}
    counted = ("texts", "tokens", "model_flops")
    evaluation: dict[str, float | None] | None = None
    if done:
        evaluation = {"seconds": sum(costs["seconds"] for _, costs in done.values())}
        evaluation |= {key: None if spec.finished else sum(costs[key] for _, costs in done.values()) for key in counted}
    return {
        "schema": SCHEMA,
        "run": spec.run,
        "status": status,
        "reason": reason,
        "method": method,
        "backbone": None
        if spec.backbone is None
        else {
            "name": spec.backbone.name,
            "given": spec.backbone.given,
            "address": spec.backbone.address,
            "parameters": spec.backbone.parameters,
        },
        "budget": {"label": spec.budget_label, "asked": dict(spec.asked)},
        "seed": spec.seed,
        "benchmark": {
            "name": spec.benchmark.name if spec.benchmark else "",
            "address": spec.benchmark.address if spec.benchmark else "",
            "tasks": list(tasks),
        },
        "training_address": spec.stage_addresses[-1] if spec.stage_addresses else None,
        "evaluation_address": evaluation_address,
        "data": dict(spec.data_facts),
        "costs": {
            "attributed": total(attributed(stages)).to_json(),
            "spent": total(spent(stages)).to_json(),
            "stages": [stage.to_json() for stage in stages],
            "evaluation": evaluation,
        },
        **(scored(spec.benchmark, done) if spec.benchmark else {"scores": [], "averages": []}),
        "engine": asdict(spec.engine),
        "configuration": dict(spec.configuration),
        "environment": dict(environment_facts or {}),
        "started": started,
        "finished": now(),
    }


def publish(spec: RunSpec, record: dict[str, Any]) -> None:
    """Write the record into the partial folder and give the folder its final name, replacing an earlier failure."""
    spec.partial.mkdir(parents=True, exist_ok=True)
    write_json(spec.partial / "run.json", record)
    shutil.rmtree(spec.folder, ignore_errors=True)
    spec.partial.replace(spec.folder)


def read_status(folder: Path) -> str | None:
    """Return the status of the run in ``folder``, None where there is no readable record."""
    try:
        return str(json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
