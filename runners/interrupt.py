"""Stopping on purpose: Ctrl-C and SIGTERM let the step in hand finish and leave a checkpoint; a second one does not."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop and has stopped where it can go on."""


_asked = False


def listen() -> None:
    """Take note of SIGINT and SIGTERM instead of dying; the second one kills as usual."""

    def note(number: int, frame: FrameType | None) -> None:
        global _asked
        _asked = True
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)


def die_with_parent() -> None:
    """End this process at once when the one that started it is gone: its folder may have another writer by then."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def asked() -> bool:
    """Whether somebody has asked this process to stop."""
    return _asked
