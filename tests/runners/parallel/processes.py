"""Processes that meet by gloo, for tests: forked from a server that has the imports paid, which takes a second."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from runners.parallel.group import Group, join, leave
from runners.parallel.seat import Seat

SECONDS = 150


def on(world: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call ``work(group, *arguments)`` on so many processes; return what each returned, or raise what one raised."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runners.worker", "tests.runners.parallel.cases", "deepspeed"])
    with TemporaryDirectory() as folder:
        ends, processes = [], []
        for rank in range(world):
            ours, theirs = context.Pipe(duplex=False)
            seat = Seat(rank, world, rank, f"file:{Path(folder)}/meeting", "test")
            process = context.Process(target=_sit, args=(seat, work, arguments, theirs), daemon=True)
            process.start()
            theirs.close()
            ends.append(ours)
            processes.append(process)
        try:
            heard = [_heard(end, rank) for rank, end in enumerate(ends)]
            # Of one that failed the others may say no more than that it left.
            errors = [f"process {rank}:\n{value}" for rank, (failed, value) in enumerate(heard) if failed]
            if errors:
                raise RuntimeError("\n".join(errors))
            return [value for _, value in heard]
        finally:
            for process in processes:
                process.kill()
                process.join()


def _heard(end: Connection, rank: int) -> tuple[bool, Any]:
    if not end.poll(SECONDS):
        return True, f"said nothing for {SECONDS} s"
    try:
        failed, value = end.recv()
    except EOFError:
        return True, "ended without a word"
    return failed, value


def _sit(seat: Seat, work: Callable[..., Any], arguments: Sequence[Any], end: Connection) -> None:
    torch.set_num_threads(1)
    group: Group = join(seat, "cpu")
    try:
        end.send((False, work(group, *arguments)))
        group.wait()
        leave()
    except BaseException:
        end.send((True, traceback.format_exc()))
        raise
