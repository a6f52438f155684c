"""Every trained stage of every kind, at its first step: what one process computes, and what several do together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from methods.parts.dropout import set_attention_dropout
from methods.registry import discover
from runners import interrupt
from runners.contract_checks.subject import Case, Subject, training_rows
from runners.engine import Engine
from runners.interrupt import Interrupted
from runners.parallel.group import Group
from runners.trainer import Trainer

# All stages that methods have, each once, with adapters where they make the wrapped module another one.
SUBJECTS: dict[str, dict[str, str]] = {
    "autoregembed": {},
    "autoregembed-js": {"tuning": "lora"},
    "anchor-embedding": {},
    "infonce-mean": {"tuning": "lora"},
    "infonce-inbatch-mean": {},
    "llm2vec-simcse-supervised": {},
}
ROWS = 13
"""Of a batch of 16: odd, so that processes get different numbers of rows and of micro-batches."""
Outcome = Mapping[str, tuple[Mapping[str, float], Mapping[str, NDArray[np.float32]]]]
"""Loss terms and gradients of each stage, by subject and stage."""


def make_starts(backbone: Path, scratch: Path) -> None:
    """Write where later stages start (`Subject.starts`), for `cases` to read: once, and by one process."""
    for name in SUBJECTS:
        _ = _subject(backbone, scratch, name).starts


def cases(backbone: Path, scratch: Path, names: Sequence[str] = tuple(SUBJECTS)) -> list[tuple[str, Case]]:
    """Every stage of the named subjects."""
    found = []
    for name in names:
        subject = _subject(backbone, scratch, name)
        stages = subject.method().stages()
        for number, stage in enumerate(stages):
            start = subject.scratch / f"untrained-{number - 1}" if number else backbone
            found.append((f"{name}/{stage.name}", Case(subject, number, len(stages), start)))
    return found


def _subject(backbone: Path, scratch: Path, name: str) -> Subject:
    return Subject(discover().get(name), backbone, training_rows(), scratch / name, overrides=SUBJECTS[name])


def trainer_of(case: Case, engine: Engine, folder: str = "step", rows: int = ROWS, epochs: int = 1) -> Trainer:
    """A trainer without dropout, whose draws are each process's own; fresh adapters are moved off zero."""
    trainer = case.trainer(folder, rows, engine=engine, epochs=epochs)
    for module in trainer.raw_module.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    set_attention_dropout(trainer.raw_module, 0.0)
    return trainer


def first_steps(
    group: Group | None,
    backbone: Path,
    scratch: Path,
    engine: Mapping[str, Any],
    names: Sequence[str] = tuple(SUBJECTS),
) -> Outcome:
    """Terms and gradients of each stage's first step; ``group`` is the one that this process has joined."""
    found = {}
    for label, case in cases(backbone, scratch, names):
        trainer = trainer_of(case, Engine(**engine))
        terms = trainer.gradients(0)
        found[label] = {name: value.item() for name, value in terms.items()}, gradients(trainer)
    return found


def gradients(trainer: Trainer) -> dict[str, NDArray[np.float32]]:
    """Gradients of what trains, whole, wherever they are kept."""
    if trainer.engine.deepspeed is None:
        return {n: p.grad.numpy(force=True).copy() for n, p in trainer.parameters.items() if p.grad is not None}
    from deepspeed.utils import safe_get_full_grad

    whole = {name: safe_get_full_grad(parameter) for name, parameter in trainer.parameters.items()}
    return {name: value.float().numpy(force=True).copy() for name, value in whole.items() if value is not None}


def trained(
    group: Group | None,
    backbone: Path,
    scratch: Path,
    name: str,
    engine: Mapping[str, Any],
    folder: str,
    stop: int | None = None,
) -> tuple[dict[str, NDArray[np.float32]], list[float], dict[str, Any]]:
    """Train the last stage of a subject, or until it is stopped; return the weights, the losses and the costs.

    ``folder`` is all processes' own, as in a run; whoever comes later goes on from the checkpoint there.
    """
    trainer = trainer_of(cases(backbone, scratch, [name])[-1][1], Engine(**engine), folder, rows=40, epochs=2)
    losses: list[float] = []

    def note(step: int, steps: int, loss: float) -> None:
        losses.append(loss)
        # Asked of one process, in the step before: all stop after the next.
        if stop is not None and step == stop - 1 and (group is None or group.rank == group.world - 1):
            interrupt._asked = True

    trainer.on_step = note
    try:
        trainer.train()
        assert stop is None
    except Interrupted:
        assert len(losses) == stop
    finally:
        interrupt._asked = False
    trainer.strategy.release()
    return weights(trainer), losses, trainer.costs.to_json()


def weights(trainer: Trainer) -> dict[str, NDArray[np.float32]]:
    """What has been trained."""
    return {name: parameter.detach().numpy(force=True).copy() for name, parameter in trainer.parameters.items()}
