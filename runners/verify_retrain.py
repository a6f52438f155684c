"""Repeating a run from its recorded configuration, by the command that made it, and holding the outcome against it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from filecmp import cmpfiles
from pathlib import Path
from typing import Any

from genembench.problem import Problem
from leaderboard.records import Record, read_records
from runners.checklist import Checklist
from runners.engine import Engine
from runners.options import resolved
from runners.recorded import RecordedRun

PART = "training"
EXACT = 5e-5
"""Scores (x100) on one machine with the same threads and packages: equal to four decimals."""
INTERRUPTED = 130
TOLERANCE = 0.5
"""On another machine training takes another path, step by step."""


@dataclass(frozen=True)
class Retrained:
    """One task of the run and of its repetition, x100."""

    task: str
    recorded: float
    retrained: float
    verdict: str


def refuse_place(run: RecordedRun, output: Path) -> None:
    """Refuse a folder for the repetition that is not new: nothing of the run itself may be taken from there, or lost.

    Raises:
        Problem: it holds something.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        own = output.resolve() in (run.folder.resolve(), *run.folder.resolve().parents)
        raise Problem(
            f"--output {output} " + ("holds the run itself" if own else "is not empty"),
            "A run is repeated into a new or empty folder.",
        )


def retrain(run: RecordedRun, engine: Engine, output: Path) -> Record:
    """Repeat a run into ``output``, an empty folder, as ``compare --config run.json`` does; return its record.

    Raises:
        Problem: what the run needs is not to be had.
        KeyboardInterrupt: it was stopped.
    """
    from runners.compare import main

    options: dict[str, Any] = resolved(run.options)
    own = {"device": engine.device, "precision": engine.precision, "output": str(output / "run")}
    file = output / "config.json"
    output.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**options, **own}, indent=2), encoding="utf-8")
    # The table of the command is not what was asked for here.
    with redirect_stdout(sys.stderr):
        code = main([f"--config={file}"])
    records = read_records([output / "run"]) if (output / "run" / "runs").is_dir() else []
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if len(records) != 1:
        raise Problem(f"the repetition left {len(records)} records (exit code {code})", f"See {output / 'run'}.")
    return records[0]


def compare(
    run: RecordedRun, again: Record, differences: Sequence[str], tolerance: float | None, found: Checklist
) -> list[Retrained]:
    """Hold a repetition against the record.

    Args:
        run: The run.
        again: The repetition's record.
        differences: What of machine, threads and packages is not as it was (`verify_contents.check_environment`).
        tolerance: Of a score, x100; None for `EXACT` where nothing differs, else `TOLERANCE`.
        found: Where to write down what came out.
    """
    then = run.record
    allowed = tolerance if tolerance is not None else TOLERANCE if differences else EXACT
    why = "machine, threads or packages are others" if differences else "the same machine, threads and packages"
    found.add(PART, "tolerance", "note", f"{allowed:g} of a score x100: {why}")
    _check_stages(then, again, found)
    if then.evaluation_address == again.evaluation_address:
        found.add(PART, "encoder", "ok", "the repetition has the very same weights, byte for byte")
    else:
        found.add(PART, "encoder", "note", f"not the very same: {_apart(run, again)}")
    old, new = then.task_scores(), again.task_scores()
    if then.benchmark.address != again.benchmark.address:
        what = "the repetition was scored on another benchmark, or other data"
        found.add(PART, "scores", "unchecked", f"{what} ({again.benchmark.name})")
        return []
    results = []
    for task, score in old.items():
        right = abs(new[task] - score) <= allowed
        results.append(Retrained(task, score, new[task], "ok" if right else "DIFFERS"))
        if not right:
            what = f"recorded {score:.4f}, retrained {new[task]:.4f}, {new[task] - score:+.4f}"
            found.add(PART, task, "differs", what)
    apart = [abs(each.retrained - each.recorded) for each in results if each.verdict == "ok"]
    if apart:
        found.add(PART, "scores", "ok", f"{len(apart)} of {len(results)} tasks, at most {max(apart):.1e} apart")
    return results


def _apart(run: RecordedRun, again: Record) -> str:
    """Say which files of the encoder came out otherwise, or why that cannot be said."""
    if again.training_address is None:
        return "nothing was trained; the backbone or the method's source is another"
    other = again.source.parents[2] / "stages" / again.training_address / "weights"
    try:
        names = sorted({path.name for folder in (run.weights, other) for path in folder.iterdir()})
        _, unequal, missing = cmpfiles(run.weights, other, names, shallow=False)
    except (Problem, OSError) as error:
        return str(error).splitlines()[0]
    files = ", ".join(sorted([*unequal, *missing]))
    return f"{files} came out otherwise" if files else "its files are equal, and the method's source is another"


def _check_stages(then: Record, again: Record, found: Checklist) -> None:
    """Equal addresses: the repetition was given what the run was given."""
    old, new = ([(stage.name, stage.address) for stage in each.costs.stages] for each in (then, again))
    if not old and not new:
        found.add(PART, "stages", "note", "nothing is trained")
        return
    if old == new:
        found.add(PART, "stages", "ok", f"the same addresses: {', '.join(name for name, _ in old)}")
        return
    other = [name for name, address in old if (name, address) not in new]
    reasons = [
        word
        for word, one, two in (
            ("backbone", then.backbone, again.backbone),
            ("method's source", then.method.source, again.method.source),
            ("hyper-parameters", then.method.config, again.method.config),
            ("data", _addresses(then), _addresses(again)),
            ("seed", then.seed, again.seed),
            ("precision", then.engine.get("precision"), again.engine.get("precision")),
        )
        if one != two
    ]
    why = f"; other than then: {', '.join(reasons)}" if reasons else "; the engine's version is another"
    # Of these two it was said before: they are no fault of what was recorded.
    excused = bool(reasons) and set(reasons) <= {"precision", "method's source"}
    found.add(PART, "stages", "note" if excused else "differs", f"other addresses of {', '.join(other)}{why}")


def _addresses(record: Record) -> dict[str, str]:
    return {kind: each.address for kind, each in record.data.items()}


def table(results: Sequence[Retrained]) -> str:
    """Lay the tasks out: recorded, retrained, difference, verdict."""
    width = max(len("task"), *(len(each.task) for each in results))
    lines = [f"{'task':<{width}}  recorded  retrained  difference  verdict"]
    for each in results:
        numbers = f"{each.recorded:>8.4f}  {each.retrained:>9.4f}  {each.retrained - each.recorded:>+10.4f}"
        lines.append(f"{each.task:<{width}}  {numbers}  {each.verdict}")
    return "\n".join(lines)
