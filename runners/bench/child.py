"""A measurement in a process of its own: its memory is its own, and a measurement that dies takes no other with it."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory

from genembench.problem import Problem
from runners.bench.products import wait
from runners.bench.sides import sides_of
from runners.bench.subject import Spec, opened
from runners.bench.turns import give_memory_back
from runners.interrupt import die_with_parent
from runners.meter import peak_memory, reset_peak_memory
from runners.output import write_json
from runners.worker import classify, silence


@dataclass(frozen=True)
class Measured:
    """One training, step by step.

    Attributes:
        step_seconds: Of the steps between the first, which warms up, and the last, whose memory is measured.
        peak: Bytes of the last step above the rest before it.
        rest: Bytes before it: weights, optimizer, libraries.
        losses: Of every step.
        flops: Model FLOPs of the steps that are timed (ours only, else 0).
    """

    step_seconds: list[float]
    peak: int
    rest: int
    losses: list[float]
    flops: float


def need_peaks() -> None:
    """Raise where the system does not tell a step's peak.

    Raises:
        Problem: it does not.
    """
    import torch

    if not torch.cuda.is_available() and not Path("/proc/self/clear_refs").exists():
        raise Problem("this system does not tell the peak of one step", "Measure memory on Linux, or on a GPU.")


def start() -> None:
    """Start the server of processes, with the libraries imported."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["runners.bench.child", "runners.bench.library"])
    forkserver.ensure_running()


def measure_apart(spec: Spec, side: str, timed: int) -> Measured | str:
    """Measure in a process of its own; return the measurement, or why there is none.

    Raises:
        KeyboardInterrupt: the user stopped it.
    """
    with TemporaryDirectory() as folder:
        result = Path(folder) / "measured.json"
        process = multiprocessing.get_context("forkserver").Process(target=_child, args=(spec, side, timed, result))
        process.start()
        try:
            process.join()
        except KeyboardInterrupt:
            process.terminate()
            process.join()
            raise
        if not result.exists():
            return f"its process ended with code {process.exitcode}"
        found = json.loads(result.read_text(encoding="utf-8"))
        return str(found["failed"]) if "failed" in found else Measured(**found)


def _child(spec: Spec, side: str, timed: int, result: Path) -> None:
    # A terminal's Ctrl-C is the command's to answer; it ends this process by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    silence()
    try:
        write_json(result, vars(measure(spec, side, timed)))
    except Exception as error:  # out of memory is a result
        status, reason = classify(error)
        write_json(result, {"failed": f"{status}: {reason}"})


def measure(spec: Spec, side: str, timed: int) -> Measured:
    """Train one step, the timed ones, and one whose memory is measured.

    Raises:
        Problem: the side does not train this.
    """
    device = spec.engine.torch_device
    clocks: list[float] = []
    rest = peak = 0

    def read(done: int) -> None:
        nonlocal rest, peak
        wait(device)
        clocks.append(time.perf_counter())
        if done == timed + 1:
            # By now the optimizer has its state, and what is freed goes back, so that the next step's is seen.
            give_memory_back()
            reset_peak_memory(device)
            rest = peak_memory(device)
        peak = peak_memory(device)

    with opened(spec) as subject:
        sides, absent = sides_of(subject)
        chosen = next((one for one in sides if one.name == side), None)
        if chosen is None:
            raise Problem(f"{side} does not train {spec.method}: {absent.get(side, 'nothing of it is there')}")
        trained = chosen.train(subject, timed + 2, read)
    seconds = [after - before for before, after in pairwise(clocks[:-1])]
    flops = trained.flops[timed] - trained.flops[0] if trained.flops else 0.0
    return Measured(seconds, peak - rest, rest, trained.losses, flops)
