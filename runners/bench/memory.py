"""``bench memory``: the peak of one optimizer step, of a plain batch and of a large one through the gradient cache."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from genembench.problem import Problem
from methods.stages.contrast import Contrast
from runners.bench import child, figures
from runners.bench.report import Report
from runners.bench.sides import LIBRARY, OURS, PLAIN
from runners.bench.subject import Spec, backbone_facts, backbone_of, find_stage, load_rows, texts_in
from runners.bench.turns import ratios, summary, turns
from runners.prepare import make_engine
from runners.progress import Progress, say
from runners.worker import silence

AGREE = {"float32": 1e-4, "bfloat16": 1e-2}
ALIGN = ("autoregembed", "align")
"""What is measured beside the method: a step that has a plain implementation."""


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        side: Whose step.
        spec: Of what.
        of: Cases of one kind compute the same losses and are compared.
    """

    side: str
    spec: Spec
    of: str

    @property
    def name(self) -> str:
        """How tables call it."""
        cache = ", cached" if self.spec.engine.gradient_cache else ""
        return f"{self.side}: {self.of} {self.spec.batch:,}{cache}"


def run(options: argparse.Namespace) -> int:
    """Measure, write and print; return 1 where sides differ.

    Raises:
        Problem: something the user has to mend.
    """
    silence()
    child.need_peaks()
    engine = make_engine(options)
    _, stage = find_stage(options.method, "", options.method_file)
    if not isinstance(stage, Contrast) or not stage.in_batch:
        raise Problem(
            f"{options.method} has no in-batch loss whose gradients could be cached",
            "Choose infonce-inbatch-mean or infonce-inbatch-last.",
        )
    report = Report(options, engine)
    # Two steps of ours, and the batch that the other side's loader is ahead.
    data = load_rows(stage.data, options.triplets, 3 * max(options.large_batch, options.batch))
    child.start()
    with report.open(), backbone_of(options.backbone, texts_in(data), engine) as backbone:
        small = Spec(
            method=options.method,
            stage=stage.name,
            method_files=tuple(options.method_file),
            backbone=backbone.folder,
            ids=data.ids[: 3 * options.batch],
            rows=data.rows[: 3 * options.batch],
            batch=options.batch,
            engine=replace(engine, micro_batch=None),
        )
        cached = replace(engine, micro_batch=options.micro_batch, gradient_cache=True)
        large = replace(small, ids=data.ids, rows=data.rows, batch=options.large_batch, engine=cached)
        align = replace(small, method=ALIGN[0], stage=ALIGN[1])
        cases = [
            *(Case(side, spec, "in-batch") for side in (OURS, LIBRARY) for spec in (small, large)),
            *(Case(side, align, "align") for side in (OURS, PLAIN)),
        ]
        report.content |= {
            "subject": {
                "method": options.method,
                **backbone_facts(backbone),
                "data": data.path,
                "data_address": data.address,
                "micro_batch": options.micro_batch,
            },
            "repetitions": options.repetitions,
            "measured": "the second step's peak above what the process held before it, weights and optimizer state: "
            "resident memory on a CPU, allocations on a GPU; a process for each measurement",
            "cases": [
                {"name": case.name, "side": case.side, "batch": case.spec.batch, "peaks": [], "rests": []}
                for case in cases
            ],
        }
        measure(cases, options.repetitions, report, AGREE[engine.precision])
    print(table(report.content))
    print(f"\n{report.file}")
    agree: bool = report.content["agreement"]["agree"]
    return 0 if agree else 1


def measure(cases: Sequence[Case], repetitions: int, report: Report, tolerance: float) -> None:
    """Let the cases take turns."""
    entries = {case.name: entry for case, entry in zip(cases, report.content["cases"], strict=True)}
    by_name = {case.name: case for case in cases}
    with Progress("bench memory", repetitions * len(cases), "measurement") as bar:
        for done, (_, name) in enumerate(turns(list(by_name), repetitions), 1):
            case, entry = by_name[name], entries[name]
            if "failed" not in entry:
                found = child.measure_apart(case.spec, case.side, 0)
                if isinstance(found, str):
                    entry["failed"] = found
                    say(f"{name}: {found}")
                else:
                    entry["peaks"].append(found.peak)
                    entry["rests"].append(found.rest)
                    entry["first_loss"] = found.losses[0]
                    entry["summary"] = summary(entry["peaks"])
                report.content["agreement"] = agreement(cases, entries, tolerance)
                report.write()
            bar.to(done, name)
    if any(entry["peaks"] for entry in entries.values()):
        report.draw(figures.memory)


def agreement(cases: Sequence[Case], entries: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Compare the first losses of cases that ought to have the same."""
    differ = {}
    for case in cases:
        for other in cases:
            same = (case.of, case.spec.batch) == (other.of, other.spec.batch) and case.side == OURS != other.side
            losses = [entries[each.name].get("first_loss") for each in (case, other)]
            if same and None not in losses:
                differ[other.name] = abs(losses[0] - losses[1]) / abs(losses[0])
    return {"tolerance": tolerance, "relative": differ, "agree": all(each <= tolerance for each in differ.values())}


def table(content: dict[str, Any]) -> str:
    """Return the result in words."""
    subject = content["subject"]
    lines = [
        f"{subject['backbone']} ({subject['parameters']:,} parameters), cached in passes of {subject['micro_batch']} "
        f"examples, {content['repetitions']} repetitions; median (range)",
        "",
        "| step | peak above rest, MiB | rest, MiB | of ours with the small batch |",
        "| --- | ---: | ---: | ---: |",
    ]
    base = content["cases"][0]["peaks"]
    for one in content["cases"]:
        if "failed" in one:
            lines.append(f"| {one['name']} | {one['failed']} | | |")
        elif one["peaks"]:
            peak, rest = summary(one["peaks"]), summary(one["rests"])
            low, high = peak["lowest"] / 2**20, peak["highest"] / 2**20
            ratio = f"{summary(ratios(one['peaks'], base))['median']:.2f}" if base else ""
            lines.append(
                f"| {one['name']} | {peak['median'] / 2**20:,.0f} ({low:,.0f} to {high:,.0f}) "
                f"| {rest['median'] / 2**20:,.0f} | {ratio} |"
            )
    if not content["agreement"]["agree"]:
        lines.append(f"\nThe sides' first losses differ: {content['agreement']['relative']}")
    return "\n".join(lines)
