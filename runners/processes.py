"""Each run in its own process: one that dies takes no other with it, and its peak memory is its own.

A fork server has the imports already paid when a run starts, so a process costs milliseconds instead of seconds.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runners.spec import RunSpec

SECONDS_TO_STOP = 60.0


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
    """Execute one run and return its status; a process that dies leaves a record too.

    Raises:
        KeyboardInterrupt: after the run has been stopped and has left its record.
    """
    from runners.records import make_record, now, publish, read_status

    started = now()
    if spec.folder.exists() and not spec.partial.exists():
        # A run that failed or was stopped: what it has scored already need not be scored again.
        spec.folder.replace(spec.partial)
    spec.partial.mkdir(parents=True, exist_ok=True)
    # A record in the partial folder is a dead run's: what this process leaves must be its own.
    (spec.partial / "run.json").unlink(missing_ok=True)
    before = read_stamp(spec)
    process = multiprocessing.get_context("forkserver").Process(target=_execute, args=(spec,), name=spec.run)
    interrupted = finish(process)
    if read_stamp(spec) == before:
        status, reason = _death(process, interrupted)
        method = {"name": spec.method.name if spec.method else spec.label, "family": "", "preset": ""}
        method |= {"config": {}, "needs": [], "source": ""}  # type: ignore[dict-item]
        publish(spec, make_record(spec, status=status, reason=reason, method=method, started=started))
    if interrupted:
        raise KeyboardInterrupt
    return read_status(spec.folder) or "failed"


def finish(process: BaseProcess) -> bool:
    """Start a process and wait for its end; return whether it was stopped, by Ctrl-C or SIGTERM to this process."""
    process.start()
    try:
        with _term_interrupts():
            process.join()
    except KeyboardInterrupt:
        _stop(process)
        return True
    return False


def _execute(spec: RunSpec) -> None:
    # Found by name in the child, which has the worker loaded; this process never needs it.
    from runners.worker import execute

    execute(spec)


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


def _stop(process: BaseProcess) -> None:
    """Let the run finish its step and write its checkpoint; insist after a while."""
    # A terminal's Ctrl-C has reached it already, a signal to this process alone has not.
    process.terminate()
    deadline = time.monotonic() + SECONDS_TO_STOP
    while process.is_alive() and time.monotonic() < deadline:
        try:
            process.join(1.0)
        except KeyboardInterrupt:
            break
    if process.is_alive():
        process.kill()
        process.join()


def _death(process: BaseProcess, interrupted: bool) -> tuple[str, str]:
    code = process.exitcode or 0
    if interrupted:
        return "interrupted", "stopped on request"
    if code == -signal.SIGKILL:
        return "failed", "its process was killed (signal 9); the system does that when memory runs out"
    if code < 0:
        return "failed", f"its process died of {signal.Signals(-code).name}"
    return "failed", f"its process ended with code {code} and left no record"
