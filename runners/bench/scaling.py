"""``bench scaling``: one thing is varied at a time, and an exponent says how seconds, memory and FLOPs grow with it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.demo.rows import demo_rows
from methods.contract import Method, Stage
from methods.parts.backbone import load_tokenizer
from runners.bench import child, figures, random_llama
from runners.bench.fit import exponent
from runners.bench.report import Report
from runners.bench.rows import exact_rows
from runners.bench.sides import OURS
from runners.bench.subject import LEARNING_RATE, Spec, find_stage, split_name
from runners.bench.turns import turns
from runners.engine import Engine
from runners.prepare import make_engine
from runners.progress import Progress, say
from runners.worker import silence

LAYERS = 4
TIMED = 3
"""Steps that are timed; where examples are varied, as many as they make."""


@dataclass(frozen=True)
class Point:
    """One size of everything."""

    batch: int = 16
    length: int = 48
    width: int = 128
    examples: int = TIMED * 16


AXES: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "batch": ("Examples in a step", (4, 8, 16, 32, 64)),
    "length": ("Tokens in a text", (32, 64, 128, 256)),
    "width": ("Width of the model", (64, 128, 256, 512)),
    "examples": ("Examples in a training", (32, 64, 128, 256)),
}
"""What is varied, as the figure calls it, and the sizes; `Point` has those of the others meanwhile."""
COSTS = ("seconds", "memory", "model_flops")


def run(options: argparse.Namespace, base: Point | None = None, axes: Mapping[str, Any] = AXES) -> int:
    """Measure, write and print.

    Raises:
        Problem: something the user has to mend.
    """
    silence()
    child.need_peaks()
    base = base or Point()
    engine = make_engine(options)
    name, stage_name = split_name(options.method)
    method, stage = find_stage(name, stage_name)
    report = Report(options, engine)
    report.content |= {
        "subject": {"method": name, "stage": stage.name, "layers": LAYERS, "learning_rate": LEARNING_RATE},
        "fixed": asdict(base),
        "repetitions": options.repetitions,
        "measured": f"ours, a process for each point: seconds of the fastest of {TIMED} steps behind a warm-up, "
        "model FLOPs of a step (where examples are varied: both of all steps), and the peak of a step above the rest",
        "axes": {axis: {"label": label, "points": [], "exponents": {}} for axis, (label, _) in axes.items()},
    }
    points = {(axis, value): _point(base, axis, value) for axis, (_, values) in axes.items() for value in values}
    child.start()
    with report.open(), TemporaryDirectory() as folder:
        specs = {
            key: make_spec(name, method, stage, point, Path(folder), engine, key[0] == "examples")
            for key, point in points.items()
        }
        measure(specs, options.repetitions, report)
    print(table(report.content))
    print(f"\n{report.file}")
    return 0


def _point(base: Point, axis: str, value: int) -> Point:
    point = replace(base, **{axis: value})
    return point if axis == "examples" else replace(point, examples=TIMED * point.batch)


def make_spec(
    name: str, method: Method, stage: Stage, point: Point, folder: Path, engine: Engine, whole: bool
) -> tuple[Spec, int, bool]:
    """Make model and rows of a point; return them with the steps to time and whether their sum counts."""
    backbone = folder / str(point.width)
    if not backbone.exists():
        texts = (row["text"] for row in demo_rows("text"))
        random_llama.make(f"{random_llama.PREFIX}{point.width}x{LAYERS}", texts, backbone)
    timed = max(1, point.examples // point.batch)
    ids, rows = exact_rows(method, stage.data, load_tokenizer(backbone), point.length, (timed + 2) * point.batch)
    spec = Spec(
        method=name,
        stage=stage.name,
        method_files=(),
        backbone=backbone,
        ids=ids,
        rows=rows,
        batch=point.batch,
        engine=engine,
    )
    return spec, timed, whole


def measure(specs: Mapping[tuple[str, int], tuple[Spec, int, bool]], repetitions: int, report: Report) -> None:
    """Let the points take turns; fit after each repetition."""
    names = {f"{axis} {value}": (axis, value) for axis, value in specs}
    found: dict[tuple[str, int], dict[str, list[float]]] = {key: {cost: [] for cost in COSTS} for key in specs}
    with Progress("bench scaling", repetitions * len(specs), "point") as bar:
        for done, (repetition, name) in enumerate(turns(list(names), repetitions), 1):
            key = names[name]
            spec, timed, whole = specs[key]
            one = child.measure_apart(spec, OURS, timed)
            if isinstance(one, str):
                say(f"{name}: {one}")
                report.content.setdefault("failed", {})[name] = one
            else:
                share = 1 if whole else timed
                # Other work on the machine only ever adds to a step.
                found[key]["seconds"].append(sum(one.step_seconds) if whole else min(one.step_seconds))
                found[key]["memory"].append(float(one.peak))
                found[key]["model_flops"].append(one.flops / share)
            bar.to(done, name)
            if done == (repetition + 1) * len(specs):
                summarise(report.content, found)
                report.write()
    report.draw(figures.scaling)


def summarise(content: dict[str, Any], found: Mapping[tuple[str, int], Mapping[str, list[float]]]) -> None:
    """Write the points so far and the exponents, fitted to every repetition of every point."""
    for axis, one in content["axes"].items():
        points = [(value, costs) for (of, value), costs in found.items() if of == axis and costs["seconds"]]
        one["points"] = [{"value": value, **costs} for value, costs in points]
        for cost in COSTS:
            pairs = [(value, each) for value, costs in points for each in costs[cost]]
            fit = exponent([value for value, _ in pairs], [each for _, each in pairs]) if pairs else None
            if fit is not None:
                one["exponents"][cost] = asdict(fit)


def table(content: dict[str, Any]) -> str:
    """Return the exponents in words."""
    subject, fixed = content["subject"], content["fixed"]
    lines = [
        f"{subject['method']}:{subject['stage']} on Llamas of {subject['layers']} layers with random weights; exponent "
        f"± standard error; meanwhile batch {fixed['batch']}, {fixed['length']} tokens a text, width {fixed['width']}",
        "",
        "| varied | from | to | seconds | peak memory | model FLOPs |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in content["axes"].values():
        if one["points"]:
            fits = [one["exponents"].get(cost) for cost in COSTS]
            cells = [figures.in_words(fit) if fit else "–" for fit in fits]
            first, last = one["points"][0]["value"], one["points"][-1]["value"]
            lines.append(f"| {one['label']} | {first} | {last} | {' | '.join(cells)} |")
    return "\n".join(lines)
