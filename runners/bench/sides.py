"""Who is measured: a side trains a subject from the same start on the same batches, and says what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from genembench.problem import Problem
from methods.stages.align import Align
from methods.stages.compress import Compress
from methods.stages.contrast import Contrast
from runners.bench.subject import Subject

OURS, PLAIN, LIBRARY = "genembench", "plain", "sentence-transformers"

OnStep = Callable[[int], None]
"""Called after every optimizer step with the number of steps done; clocks are read there, and peaks."""


@dataclass
class Trained:
    """What a training left.

    Attributes:
        losses: Of every step.
        flops: Model FLOPs of all steps until each; ours only.
        tokens: Real tokens until each step; ours only.
        padded: Tokens with padding until each step; ours only.
    """

    losses: list[float] = field(default_factory=list)
    flops: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    padded: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Side:
    """One implementation.

    Attributes:
        name: What tables call it.
        does: What a step of it is, in words.
        train: Trains so many steps from the subject's start.
    """

    name: str
    does: str
    train: Callable[[Subject, int, OnStep], Trained]


def sides_of(subject: Subject) -> tuple[list[Side], dict[str, str]]:
    """Return who can train this stage, ours first, and why others cannot.

    Raises:
        Problem: the rows are not what a side needs.
    """
    # These import what this module defines.
    from runners.bench import ours, plain

    found = [Side(OURS, ours.DOES, ours.train)]
    absent = {}
    stage: Any = subject.stage
    if isinstance(stage, Align | Compress):
        reason = plain.refusal(subject)
        if reason:
            absent[PLAIN] = reason
        else:
            found.append(Side(PLAIN, plain.DOES, plain.train))
    if isinstance(stage, Contrast):
        from runners.bench import library

        reason = library.refusal(subject)
        if reason:
            absent[LIBRARY] = reason
        else:
            found.append(Side(LIBRARY, library.DOES, library.train))
    return found, absent


def whole_batches(subject: Subject, steps: int) -> None:
    """Raise where there are not rows for so many steps."""
    if subject.steps < steps:
        raise Problem(f"{steps} steps of {subject.spec.batch} need more rows than {len(subject.rows)}")
