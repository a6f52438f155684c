"""Running a check: whatever it raises becomes its outcome, and is blamed on a line of the method's own file."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from genembench.problem import Problem
from methods.contract import Method, Stage
from methods.registry import MethodEntry
from runners.contract_checks.subject import FINITE, Broken, Skipped, Subject
from runners.trainer import Diverged

Mark = Literal["kept", "broken", "skipped"]


@dataclass(frozen=True)
class Check:
    """One promise of the contract.

    Attributes:
        name: A short name.
        title: The promise in plain words.
        look: Looks at a subject and returns a detail for the reader, or raises.
    """

    name: str
    title: str
    look: Callable[[Subject], str]


@dataclass(frozen=True)
class Outcome:
    """What came of a check.

    Attributes:
        check: The check.
        mark: Whether the promise is kept.
        detail: A measured number, or the reason for skipping; may be empty.
        explanation: Of a broken promise: what was wrong, where, and what to do.
    """

    check: Check
    mark: Mark
    detail: str = ""
    explanation: tuple[str, ...] = ()


def perform(check: Check, subject: Subject) -> Outcome:
    """Run one check; nothing that a stranger's code raises gets out."""
    mark: Mark = "kept"
    detail = ""
    explanation: tuple[str, ...] = ()
    try:
        detail = check.look(subject)
    except Skipped as reason:
        mark, detail = "skipped", str(reason)
    # A stranger's code may raise anything, SystemExit too, and the other checks are still worth having.
    except (Exception, SystemExit) as error:
        mark, explanation = "broken", tuple(explain(error, subject.entry))
    return Outcome(check, mark, detail, explanation)


def explain(error: BaseException, entry: MethodEntry) -> Iterator[str]:
    """Say what an exception means for the author of the method, in a few lines."""
    if isinstance(error, Broken | Problem):
        yield error.what
        if error.__cause__ is not None:
            yield from _where(error.__cause__, entry)
        if error.hint:
            yield error.hint
        return
    if isinstance(error, Diverged):
        yield str(error)
        yield FINITE
        return
    yield f"{type(error).__name__}: {error}".rstrip(": ")
    yield from _where(error, entry)


def _where(error: BaseException, entry: MethodEntry) -> Iterator[str]:
    """Name the innermost line of the method's own code that led to the error."""
    own = other = None
    for frame in _frames(error.__traceback__):
        if _is_own(frame.module, entry):
            own = frame
        other = frame
    if own is not None:
        line = linecache.getline(own.file, own.line).strip()
        yield f"at {shown(own.file)}, line {own.line}, in {own.function}: {line}"
    elif other is not None:
        yield f"raised in {shown(other.file)}, line {other.line}; no line of the method's own led there"


@dataclass(frozen=True)
class _Frame:
    file: str
    line: int
    function: str
    module: str


def _frames(trace: TracebackType | None) -> Iterator[_Frame]:
    while trace is not None:
        code = trace.tb_frame.f_code
        yield _Frame(code.co_filename, trace.tb_lineno, code.co_name, trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next


def _is_own(module: str, entry: MethodEntry) -> bool:
    own = [cls.__module__ for cls in entry.cls.__mro__ if issubclass(cls, Method | Stage) and cls is not Method]
    # A plug-in may be a package of many modules; our own package holds other methods and the shared parts.
    packages = {name.partition(".")[0] for name in own} - {"methods"}
    return module in own or module.partition(".")[0] in packages


def shown(file: str | Path) -> str:
    """Write a path as short as it can be: from the working directory where it lies below that."""
    relative = os.path.relpath(file)
    return str(file) if relative.startswith("..") else relative
