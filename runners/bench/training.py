"""``bench training``: optimizer steps of each side, and the products of matrices beside them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from genembench.problem import Problem
from runners.bench import figures, ours
from runners.bench.products import SQUARE, Shapes, own_rate, square_rate, wait
from runners.bench.report import Report
from runners.bench.sides import OURS, Side, sides_of
from runners.bench.subject import Spec, Subject, backbone_of, facts, find_stage, load_rows, opened, split_name, texts_in
from runners.bench.training_report import OWN_PRODUCTS, SQUARE_PRODUCT, summarise, table
from runners.bench.turns import give_memory_back, turns
from runners.prepare import make_engine
from runners.progress import Progress, say
from runners.worker import silence

AGREE = {"float32": 1e-4, "bfloat16": 1e-2}
"""Relative: losses of a side and ours on the first batch."""


def run(options: argparse.Namespace) -> int:
    """Measure, write and print; return 1 where losses part on the way.

    Raises:
        Problem: something the user has to mend, or sides that do not compute the same.
    """
    silence()
    engine = make_engine(options)
    name, stage_name = split_name(options.method)
    _, stage = find_stage(name, stage_name, options.method_file)
    engine = replace(engine, gradient_cache=options.micro_batch is not None and stage.loss_kind == "joint")
    steps = -(-options.examples // options.batch)
    report = Report(options, engine)
    # A batch to warm up with, and one more for a loader that is a batch ahead.
    data = load_rows(stage.data, getattr(options, stage.data), (steps + 2) * options.batch)
    with report.open(), backbone_of(options.backbone, texts_in(data), engine) as backbone:
        spec = Spec(
            method=name,
            stage=stage.name,
            method_files=tuple(options.method_file),
            backbone=backbone.folder,
            ids=data.ids,
            rows=data.rows,
            batch=options.batch,
            engine=engine,
        )
        with opened(spec) as subject:
            report.content |= {
                "subject": facts(spec, subject, backbone)
                | {"data": data.path, "data_address": data.address, "examples": steps * options.batch},
                "repetitions": options.repetitions,
                "timed": "from the end of the first step, which warms up, to the end of the last; clipping at norm "
                f"{subject.stage.recipe.clip_norm:g}, AdamW (fused), constant learning rate",
            }
            sides, absent = sides_of(subject)
            report.content["sides"] = {side.name: {"does": side.does, "turns": []} for side in sides}
            report.content["absent"] = absent
            for who, why in absent.items():
                say(f"{who} takes no part: {why}")
            shapes = check(subject, sides, report)
            measure(subject, sides, shapes, steps, options.repetitions, report)
    print(table(report.content))
    print(f"\n{report.file}")
    agree: bool = report.content["agreement"]["agree"]
    return 0 if agree else 1


def check(subject: Subject, sides: list[Side], report: Report) -> Shapes:
    """Train one step of each side, refuse unequal losses, and return the shapes that ours multiplies.

    Raises:
        Problem: losses differ.
    """
    say("checking that the sides agree")
    shapes = Shapes()
    first = {}
    for side in sides:
        train = partial(ours.train, shapes=shapes) if side.name == OURS else side.train
        first[side.name] = train(subject, 1, lambda _: None).losses[0]
        give_memory_back()
    tolerance = AGREE[subject.spec.engine.precision]
    differ = {who: abs(loss - first[OURS]) / abs(first[OURS]) for who, loss in first.items()}
    agree = all(each <= tolerance for each in differ.values())
    report.content["agreement"] = {"tolerance": tolerance, "first_losses": first, "relative": differ, "agree": agree}
    report.write()
    if not agree:
        losses = ", ".join(f"{who} {loss:.6f}" for who, loss in first.items())
        raise Problem(
            f"the sides do not compute the same loss on the first batch: {losses}",
            f"Nothing was timed. They may differ by {tolerance:g} of ours; a text that is cut differently would do it.",
        )
    return shapes


def measure(subject: Subject, sides: list[Side], shapes: Shapes, steps: int, repetitions: int, report: Report) -> None:
    """Let the sides and the products take turns; the report is written after every repetition."""
    engine, content = subject.spec.engine, report.content
    by_name = {side.name: side for side in sides}
    typical = shapes.typical()
    square = SQUARE["cuda" if engine.device == "cuda" else "cpu"]
    content["products"] = {
        SQUARE_PRODUCT: {"shapes": [[square, square, square, 1]], "turns": []},
        OWN_PRODUCTS: {"shapes": [[*shape, count] for shape, count in typical.items()], "turns": []},
    }
    names = [*by_name, SQUARE_PRODUCT, *([OWN_PRODUCTS] if typical else [])]
    with Progress("bench training", repetitions * len(names), "turn") as bar:
        for done, (repetition, name) in enumerate(turns(names, repetitions), 1):
            give_memory_back()
            if name in by_name:
                content["sides"][name]["turns"].append(turn(subject, by_name[name], steps))
            else:
                rate = square_rate(engine) if name == SQUARE_PRODUCT else own_rate(typical, engine)
                content["products"][name]["turns"].append(vars(rate))
            bar.to(done, name)
            if done == (repetition + 1) * len(names):
                summarise(content)
                report.write()
    report.draw(figures.training)


def turn(subject: Subject, side: Side, steps: int) -> dict[str, Any]:
    """Train one step more than is timed; return seconds, losses and, of ours, what the steps cost."""
    clocks: list[float] = []
    processor: list[float] = []
    device = subject.spec.engine.torch_device

    def read(_: int) -> None:
        wait(device)
        clocks.append(time.perf_counter())
        processor.append(time.process_time())

    trained = side.train(subject, steps + 1, read)
    found: dict[str, Any] = {
        "seconds": clocks[-1] - clocks[0],
        "processor_seconds": processor[-1] - processor[0] if device.type == "cpu" else None,
        "step_seconds": [after - before for before, after in pairwise(clocks)],
        "losses": trained.losses,
    }
    series: dict[str, Sequence[float]] = {
        "model_flops": trained.flops,
        "tokens": trained.tokens,
        "padded_tokens": trained.padded,
    }
    return found | {name: float(values[-1] - values[0]) for name, values in series.items() if values}
