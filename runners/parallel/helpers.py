"""Processes that help one command encode: `genembench evaluate --processes N`, a GPU each."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory

from methods.encoder import load_encoder
from runners.engine import Engine
from runners.parallel.encoding import SharedEncoder
from runners.parallel.group import Group, join, leave
from runners.parallel.seat import Seat

SECONDS_TO_GO = 10.0


@contextmanager
def helped(encoder: str, engine: Engine) -> Iterator[Group]:
    """Start ``engine.processes - 1`` processes that load the same encoder and serve; the first one is this process.

    Where one of them dies, this process ends with code 1: it would wait for its vectors for ever.
    """
    if engine.processes == 1:
        yield Group()
        return
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="genembench-") as folder:
        seats = [Seat(n, engine.processes, n, f"file:{folder}/meeting", "evaluate") for n in range(engine.processes)]
        helpers = [context.Process(target=_serve, args=(encoder, engine, seat), daemon=True) for seat in seats[1:]]
        for helper in helpers:
            helper.start()
        through = threading.Event()
        threading.Thread(target=_watch, args=(helpers, through), daemon=True).start()
        group = join(seats[0], engine.device)
        try:
            yield group
        finally:
            through.set()
            leave()
            for helper in helpers:
                helper.join(SECONDS_TO_GO)
                helper.kill()


def _serve(given: str, engine: Engine, seat: Seat) -> None:
    from runners.worker import silence

    silence()
    group = join(seat, engine.device)
    encoder = load_encoder(given, device=engine.device, precision=engine.precision)
    SharedEncoder(encoder, group).serve()
    leave()


def _watch(helpers: Sequence[BaseProcess], through: threading.Event) -> None:
    wait([helper.sentinel for helper in helpers])
    if not through.is_set() and any(helper.exitcode not in (None, 0) for helper in helpers):
        print("error: one of the processes that encode has died; what is scored is kept", file=sys.stderr, flush=True)
        os._exit(1)
