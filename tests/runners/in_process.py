"""A comparison without the command around it: planned and executed in the process of the test, which takes a second."""

from __future__ import annotations

import json
from collections.abc import Sequence

from runners import course_worker, worker
from runners.compare import parser
from runners.options import parse
from runners.prepare import Prepared, choose_benchmark, make_engine, prepare
from runners.spec import RunSpec


def prepared(arguments: Sequence[str]) -> Prepared:
    """Resolve the arguments of `genembench compare`, as the command does before it plans."""
    options = parse(parser(), arguments)
    benchmark, engine = choose_benchmark(options), make_engine(options)
    return prepare(options, options.methods, benchmark=benchmark, engine=engine, output=options.output)


def plan(arguments: Sequence[str]) -> list[RunSpec]:
    """Plan the runs of a comparison."""
    found = prepared(arguments)
    return found.plan(found.chosen)


def run(spec: RunSpec) -> None:
    """Execute a run, which must end well."""
    worker._execute(spec, None)
    assert json.loads((spec.folder / "run.json").read_text())["status"] == "done"


def score_course(spec: RunSpec) -> bool:
    """Score what is missing of a run's course."""
    return course_worker._execute(spec)
