"""What `doctor` looks at, section by section, and the process that does the looking.

Only the standard library is imported here: what is examined may be missing or broken, and is imported by `load` when
its turn comes.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Literal

Mark = Literal["ok", "note", "bad"]

SECTIONS = {
    "Versions": "runners.probe_install:versions",
    "Devices": "runners.probe_compute:devices",
    "Attention": "runners.probe_attention:attention",
    "Precision": "runners.probe_compute:precision",
    "Hub": "runners.probe_install:hub",
    "Disk": "runners.probe_install:disk",
    "Extras": "runners.probe_install:extras",
    "Methods": "runners.probe_install:methods",
}
"""Title and home of every section, in the order of the report."""

IMPORTING = "importing "
CONSTRAINTS = "-c constraints.txt"
INSTALL = f"pip install -e . {CONSTRAINTS}"
REINSTALL = f"pip install --force-reinstall {CONSTRAINTS}"
CHOSEN = "auto"
"""Name of the finding whose text is what a run will use; the verdict repeats it."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        mark: ``ok``; ``note``: works, but slower, or something optional is missing; ``bad``: something will fail.
        name: What it is about, a word or two.
        text: What was found.
        mend: Commands that mend it.
    """

    mark: Mark
    name: str
    text: str
    mend: tuple[str, ...] = ()


class Unusable(Exception):
    """A package cannot be imported; what depends on it cannot be examined."""

    def __init__(self, package: str, reason: str) -> None:
        super().__init__(f"{package}: {reason}")
        self.package = package
        self.reason = reason


BROKEN: dict[str, str] = {}
"""Module to reason: a second import of a broken library gives another, misleading error."""

_listener: list[Callable[[str], None]] = []


def announce(activity: str) -> None:
    """Tell the waiting command what is done now; if this process dies, it was this."""
    for listen in _listener:
        listen(activity)


def load(module: str) -> Any:
    """Import a module that may be missing or broken.

    Raises:
        Unusable: it is; for the same reason however often it is asked for.
    """
    if module not in BROKEN:
        announce(IMPORTING + module)
        try:
            return import_module(module)
        # Broken packages raise anything; some call sys.exit.
        except (Exception, SystemExit) as error:
            BROKEN[module] = describe(error)
        finally:
            announce("")
    raise Unusable(module, BROKEN[module])


def describe(error: BaseException) -> str:
    """Kind and first line of an error."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__


def examine(title: str) -> Iterator[Finding]:
    """Look at one section; whatever goes wrong becomes a finding."""
    try:
        home, _, name = SECTIONS[title].partition(":")
        yield from getattr(import_module(home), name)()
    except Unusable as error:
        yield Finding("note", "not examined", f"needs {error.package}, which cannot be imported (see Versions)")
    except (Exception, SystemExit) as error:
        yield Finding("bad", "failed", f"this could not be examined: {describe(error)}", (ISSUE,))


ISSUE = "genembench doctor --json > doctor.json  # for a bug report, with what you did"

Message = Finding | str | None


def serve(descriptor: str, titles: str, broken: str) -> None:
    """Look at sections in a process of its own: a library that crashes takes only this process with it.

    Sends each finding as it is made, each activity as text, and None after each section.

    Args:
        descriptor: Number of the open pipe to send through.
        titles: The sections, as JSON.
        broken: What is known to be `BROKEN`, as JSON.
    """
    # Ctrl-C is the command's to answer; here it would only be a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    pipe = Connection(int(descriptor), readable=False)
    BROKEN.update(json.loads(broken))
    _listener.append(pipe.send)
    with suppress(BrokenPipeError):
        for title in json.loads(titles):
            for finding in examine(title):
                pipe.send(finding)
            pipe.send(None)
    # Libraries' threads and exit handlers have nothing to add, and some of them hang.
    os._exit(0)
