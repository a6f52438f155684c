"""Each run in its own process: one that dies takes no other with it, and its peak memory is its own.

A fork server has the imports already paid when a run starts, so a process costs milliseconds instead of seconds.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Any

from runners.parallel.failures import forget_failures, has_left_failure, leave_failure, read_failure
from runners.parallel.launch import Launch
from runners.parallel.seat import Seat

if TYPE_CHECKING:
    from runners.spec import RunSpec

SECONDS_TO_STOP = 60.0
SECONDS_TO_FOLLOW = 10.0
"""For the other processes of a run to end by themselves when the first one has, or when one of them has died."""


def start_server() -> None:
    """Start the fork server; it imports the worker's libraries while this process imports its own and plans.

    That is why nothing heavy is imported at the top of this module.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(["runners.worker"])
    forkserver.ensure_running()
    atexit.register(_stop_server)


def _stop_server() -> None:
    """End the fork server with the command: after a refusal it would import on, and hold the pipe we print to."""
    # The standard library offers only to wait for it.
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def run_in_process(spec: RunSpec) -> str:
    """Execute one run, on as many processes as its engine says, and return its status; one that dies leaves a record.

    Several processes that run out of memory are started again with micro-batches of half the size; they go on from
    their last checkpoint.

    Raises:
        KeyboardInterrupt: after the run has been stopped and has left its record.
    """
    from runners.progress import say

    while True:
        status = _run(spec)
        smaller = _smaller(spec) if status == "out_of_memory" else None
        if smaller is None:
            return status
        say(f"{spec.label}: memory ran out; again with --micro-batch {smaller} (batch and loss stay the same)")
        spec = replace(spec, engine=replace(spec.engine, micro_batch=smaller, gradient_cache=True))


def _smaller(spec: RunSpec) -> int | None:
    """Half the micro-batch, where the processes of a run could not halve it on the spot."""
    engine = spec.engine
    if spec.method is None or (engine.processes == 1 and engine.deepspeed is None):
        return None
    if all((spec.output / "stages" / address).exists() for address in spec.stage_addresses):
        # Training was over: encoding has no micro-batches.
        return None
    _, method = spec.method.resolve()
    share = max(-(-stage.recipe.batch_size // engine.processes) for stage in method.stages())
    size = min(engine.micro_batch or share, share)
    return (size + 1) // 2 if size > 1 else None


def _run(spec: RunSpec) -> str:
    from runners.records import make_record, now, publish, read_status

    started = now()
    if spec.folder.exists() and not spec.partial.exists():
        # A run that failed or was stopped: what it has scored already need not be scored again.
        spec.folder.replace(spec.partial)
    spec.partial.mkdir(parents=True, exist_ok=True)
    # A record in the partial folder is a dead run's: what this process leaves must be its own.
    (spec.partial / "run.json").unlink(missing_ok=True)
    forget_failures(spec.partial)
    before = read_stamp(spec)
    on_death = partial(_leave_death, spec.partial)
    launch = launched()
    if launch is not None:
        process = _process(_execute, (spec, launch.announce(spec)), spec.run)
        interrupted = finish([process], others_failed=launch.failed, on_death=on_death)
        launch.over()
        processes = [process]
    else:
        with _meeting(spec) as seats:
            processes = [_process(_execute, (spec, seat), f"{spec.run} {i}") for i, seat in enumerate(seats)]
            interrupted = finish(processes, on_death=on_death if len(processes) > 1 else None)
    if read_stamp(spec) == before:
        status, reason = read_failure(spec.partial) or _death(processes, interrupted)
        method = {"name": spec.method.name if spec.method else spec.label, "family": "", "preset": ""}
        method |= {"config": {}, "needs": [], "source": ""}  # type: ignore[dict-item]
        publish(spec, make_record(spec, status=status, reason=reason, method=method, started=started))
    if interrupted:
        raise KeyboardInterrupt
    return read_status(spec.folder) or "failed"


@cache
def launched() -> Launch | None:
    """Return this command's place among copies of itself (torchrun); None where it was started alone."""
    return Launch.of()


def among_copies(command: Callable[[], int]) -> int:
    """Run a command once, however many copies of it a launcher started: the others only do what the first one says."""
    launch = launched()
    if launch is None:
        return command()
    if launch.rank:
        start_server()
        return _follow(launch)
    try:
        return command()
    finally:
        launch.dismiss()


def _follow(launch: Launch) -> int:
    def run(order: bytes, seat: Seat, over: Callable[[], bool]) -> int:
        process = _process(_execute_order, (order, seat), f"process {seat.rank}")

        def on_death(_: int, code: int) -> None:
            _leave_death(pickle.loads(order).partial, seat.rank, code)

        if finish([process], others_failed=over, on_death=on_death):
            raise KeyboardInterrupt
        return process.exitcode or 0

    return launch.follow(run)


@contextmanager
def _meeting(spec: RunSpec) -> Iterator[list[Seat | None]]:
    """Seats for the processes of a run on this machine; a lone one needs none, but for DeepSpeed."""
    world = spec.engine.processes
    if world == 1 and spec.engine.deepspeed is None:
        yield [None]
        return
    with TemporaryDirectory(prefix="genembench-") as folder:
        yield [Seat(rank, world, rank, f"file:{folder}/meeting", "run") for rank in range(world)]


def _process(target: Callable[..., None], arguments: tuple[Any, ...], name: str) -> BaseProcess:
    return multiprocessing.get_context("forkserver").Process(target=target, args=arguments, name=name)


def finish(
    processes: Sequence[BaseProcess],
    *,
    others_failed: Callable[[], bool] | None = None,
    on_death: Callable[[int, int], None] | None = None,
) -> bool:
    """Start processes and wait for their end; return whether they were stopped, by Ctrl-C or SIGTERM to this process.

    They are one run's: the first one's end is the end of all, and where one dies, none of the others can go on. Each
    then has `SECONDS_TO_FOLLOW` to notice. ``others_failed`` tells of processes on other machines; ``on_death`` is told
    number and exit code of each that died.
    """
    for process in processes:
        process.start()
    try:
        with _term_interrupts():
            while processes[0].is_alive() and not _died(processes) and not (others_failed and others_failed()):
                alive = [process.sentinel for process in processes if process.is_alive()]
                wait(alive, timeout=0.5 if others_failed else None)
            for rank, process in enumerate(processes):
                if on_death is not None and process.exitcode:
                    on_death(rank, process.exitcode)
            deadline = time.monotonic() + SECONDS_TO_FOLLOW
            for process in processes:
                process.join(max(0.0, deadline - time.monotonic()))
                if process.is_alive():
                    process.kill()
                    process.join()
    except KeyboardInterrupt:
        _stop(processes)
        return True
    return False


def _died(processes: Sequence[BaseProcess]) -> bool:
    return any(process.exitcode not in (None, 0) for process in processes)


def _execute(spec: RunSpec, seat: Seat | None) -> None:
    # Found by name in the child, which has the worker loaded; this process never needs it.
    from runners.worker import execute

    execute(spec, seat)


def _execute_order(order: bytes, seat: Seat) -> None:
    _execute(pickle.loads(order), seat)


def read_stamp(spec: RunSpec) -> tuple[int, int] | None:
    """Identify the record that stands now, to tell whether a process has written another."""
    file = spec.folder / "run.json"
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


@contextmanager
def _term_interrupts() -> Iterator[None]:
    """Have SIGTERM, which schedulers send, stop the run as Ctrl-C does instead of leaving it alone in the world."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(processes: Sequence[BaseProcess]) -> None:
    """Let the run finish its step and write its checkpoint; insist after a while."""
    # A terminal's Ctrl-C has reached them already, a signal to this process alone has not.
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + SECONDS_TO_STOP
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        try:
            wait([process.sentinel for process in processes if process.is_alive()], timeout=1.0)
        except KeyboardInterrupt:
            break
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()


def _death(processes: Sequence[BaseProcess], interrupted: bool) -> tuple[str, str]:
    if interrupted:
        return "interrupted", "stopped on request"
    # Who was killed because another had died says nothing.
    rank = next((i for i, process in enumerate(processes) if process.exitcode not in (0, -signal.SIGKILL)), 0)
    who = "its process" if len(processes) == 1 else f"its process {rank} of {len(processes)}"
    return "failed", f"{who} {_cause(processes[rank].exitcode or 0)}"


def _leave_death(folder: Path, rank: int, code: int) -> None:
    """Say why a process ended that could not say it itself: the first one sees only that a connection broke."""
    # An abort of the first may itself follow from another's death; nothing but memory kills it.
    if has_left_failure(folder, rank) or (rank == 0 and code != -signal.SIGKILL):
        return
    # On a full disk, or when the record stands already, there is no place for it.
    with suppress(OSError):
        leave_failure(folder, rank, "failed", _cause(code))


def _cause(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed (signal 9); the system does that when memory runs out"
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with code {code} and left no record"
