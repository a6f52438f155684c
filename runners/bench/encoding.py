"""``bench encoding``: a whole evaluation as the suite makes it, and as mteb and sentence-transformers make it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import mteb
import numpy as np
import torch

from benchmarks.evaluate import evaluate
from benchmarks.mteb_adapter import quiet_mteb
from benchmarks.suite import Benchmark
from genembench.problem import Problem
from methods.encoder import Encoder, make_encoder
from methods.registry import discover
from runners.bench import figures
from runners.bench.products import wait
from runners.bench.report import Report
from runners.bench.sides import LIBRARY, OURS
from runners.bench.subject import backbone_facts, backbone_of
from runners.bench.turns import give_memory_back, range_in_words, ratios, summary, turns
from runners.engine import Engine
from runners.prepare import choose_benchmark, make_engine
from runners.progress import Progress, say
from runners.worker import silence

AGREE = {"float32": 1e-4, "bfloat16": 2e-2}
"""Largest difference of two vectors of one text, of length 1."""
SCORES_AGREE = 0.01
TEXTS_TO_CHECK = 64
DOES = {
    OURS: "benchmarks/evaluate.py: tasks loaded, each text of a task encoded once, sorted by length; mteb's scores, "
    "and the predictions of every pair",
    LIBRARY: "mteb.evaluate of a SentenceTransformer: tasks loaded, mteb's defaults (batches of 32), no result cache",
}

Evaluation = Callable[[], dict[str, float]]


def run(options: argparse.Namespace) -> int:
    """Measure, write and print; return 1 where scores differ.

    Raises:
        Problem: something the user has to mend, or vectors that differ.
    """
    from runners.bench import library

    silence()
    engine = make_engine(options)
    entry = discover(options.method_file).get(options.method)
    method = entry.create("small" if "small" in entry.cls.presets else "default")
    why = library.unusable(method)
    if why:
        raise Problem(
            f"sentence-transformers cannot encode as {options.method} does: {why}",
            "Choose one that reads the last token or the mean, such as untrained-mean.",
        )
    if not (options.benchmark or options.data_dir or options.tasks):
        options.benchmark = "demo"
    benchmark = choose_benchmark(options)
    report = Report(options, engine)
    with report.open(), backbone_of(options.backbone, benchmark.texts(), engine) as backbone:
        encoder = make_encoder(
            options.method, method, entry.source, backbone.folder, device=engine.device, precision=engine.precision
        )
        model = library.model_of(method, backbone.folder, engine)
        texts = list(benchmark.texts())
        report.content |= {
            "subject": {
                "method": options.method,
                **backbone_facts(backbone),
                "benchmark": benchmark.name,
                "benchmark_address": benchmark.address,
                "tasks": list(benchmark.tasks),
                "texts": len(texts),
                "different_texts": len(set(texts)),
            },
            "repetitions": options.repetitions,
            "timed": "the whole evaluation, loading of the tasks' data included, of the model excluded",
            "sides": {name: {"does": does, "turns": []} for name, does in DOES.items()},
        }
        check(encoder, model, texts, engine, report)
        sides: dict[str, Evaluation] = {
            OURS: lambda: ours(encoder, benchmark),
            LIBRARY: lambda: with_mteb(model, benchmark, engine),
        }
        measure(sides, engine, options.repetitions, report)
    print(table(report.content))
    print(f"\n{report.file}")
    agree: bool = report.content["agreement"]["agree"]
    return 0 if agree else 1


def ours(encoder: Encoder, benchmark: Benchmark) -> dict[str, float]:
    """Score as a run is scored."""
    return {one.task: one.score for one in evaluate(encoder, benchmark, on_task=lambda score, predictions: None)}


def with_mteb(model: Any, benchmark: Benchmark, engine: Engine) -> dict[str, float]:
    """Score by mteb alone; on a GPU in the precision that ours has."""
    half = engine.precision == "bfloat16"
    with quiet_mteb(), torch.autocast(engine.device, torch.bfloat16, enabled=half):
        found = mteb.evaluate(
            model,
            [benchmark.load_task(name) for name in benchmark.tasks],
            cache=None,
            co2_tracker=False,
            show_progress_bar=False,
        )
    return {one.task_name: 100 * float(one.get_score()) for one in found.task_results}


def check(encoder: Encoder, model: Any, texts: list[str], engine: Engine, report: Report) -> None:
    """Compare vectors of some texts, short and long.

    Raises:
        Problem: they differ.
    """
    by_length = sorted(set(texts), key=lambda text: (len(text), text))
    chosen = by_length[:: max(1, len(by_length) // TEXTS_TO_CHECK)]
    half = engine.precision == "bfloat16"
    with torch.autocast(engine.device, torch.bfloat16, enabled=half):
        theirs = model.encode(chosen, show_progress_bar=False, convert_to_tensor=True).float().cpu().numpy()
    difference = float(np.linalg.norm(encoder.encode(chosen) - theirs, axis=1).max())
    tolerance = AGREE[engine.precision]
    agree = difference <= tolerance
    report.content["agreement"] = {
        "tolerance": tolerance,
        "vectors": len(chosen),
        "largest": difference,
        "agree": agree,
    }
    report.write()
    if not agree:
        raise Problem(
            f"the vectors of the two sides differ by up to {difference:.2g}, of length 1",
            "Nothing was timed. sentence-transformers cuts the prompt off a text that is too long; ours cuts the text.",
        )


def measure(sides: dict[str, Evaluation], engine: Engine, repetitions: int, report: Report) -> None:
    """Let the sides take turns, after a turn of each that is not counted; compare their scores."""
    content = report.content
    with Progress("bench encoding", (repetitions + 1) * len(sides), "turn") as bar:
        for done, (repetition, name) in enumerate(turns(list(sides), repetitions + 1), 1):
            give_memory_back()
            began, busy = time.perf_counter(), time.process_time()
            scores = sides[name]()
            wait(engine.torch_device)
            seconds = time.perf_counter() - began
            processor = time.process_time() - busy if engine.device == "cpu" else None
            side = content["sides"][name]
            side["scores"] = scores
            # The first turn pays for imports, and for the files that come from the disk.
            if repetition:
                side["turns"].append({"seconds": seconds, "processor_seconds": processor})
            else:
                side["first_turn_seconds"] = seconds
            bar.to(done, name)
            if repetition and done == (repetition + 1) * len(sides):
                summarise(content)
                report.write()
    report.draw(figures.encoding)


def summarise(content: dict[str, Any]) -> None:
    """Compute rates and ratios of the turns so far, and whether the scores are the same."""
    mine, texts = content["sides"][OURS], content["subject"]["texts"]
    for side in content["sides"].values():
        seconds = [one["seconds"] for one in side["turns"]]
        side["summary"] = {
            "seconds": summary(seconds),
            "texts_per_second": summary([texts / each for each in seconds]),
            "seconds_over_ours": summary(ratios(seconds, [one["seconds"] for one in mine["turns"]])),
        }
        busy, own = ([one["processor_seconds"] for one in each["turns"]] for each in (side, mine))
        if None not in busy:
            side["summary"]["processor_seconds_over_ours"] = summary(ratios(busy, own))
    theirs = content["sides"][LIBRARY]["scores"]
    differ = max(abs(score - theirs[task]) for task, score in mine["scores"].items())
    if differ > SCORES_AGREE:
        say(f"warning: scores differ by up to {differ:.3f}; the times are not of the same work")
    content["agreement"] |= {"scores_tolerance": SCORES_AGREE, "scores_differ": differ, "agree": differ <= SCORES_AGREE}


def table(content: dict[str, Any]) -> str:
    """Return the result in words."""
    subject, facts = content["subject"], content["environment"]
    lines = [
        f"{subject['method']} on {subject['backbone']} ({subject['parameters']:,} parameters), {len(subject['tasks'])} "
        f"tasks, {subject['texts']:,} texts ({subject['different_texts']:,} different), {content['repetitions']} "
        f"repetitions, {facts['threads']} threads, {facts['precision']}, load before {facts['load_before']}; median "
        "(range)",
        "",
        "| side | seconds | texts/s | time, ours = 1 | processor time |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, side in content["sides"].items():
        found = side["summary"]
        cells = [range_in_words(found["seconds"]), range_in_words(found["texts_per_second"], 0)]
        for ratio in ("seconds_over_ours", "processor_seconds_over_ours"):
            cells.append("1" if name == OURS else range_in_words(found[ratio]) if ratio in found else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    agreement = content["agreement"]
    lines.append(
        f"\nScores differ by up to {agreement['scores_differ']:.4f} (of 100), vectors by {agreement['largest']:.1g}."
    )
    return "\n".join(lines)
