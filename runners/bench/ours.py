"""Our side: the trainer as every run uses it."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from runners.bench.products import Shapes
from runners.bench.sides import OnStep, Trained, whole_batches
from runners.bench.subject import SEED, Subject
from runners.trainer import Trainer

DOES = "runners/trainer.py: tokenising, length groups, forward, backward, clipping, AdamW, the meter, metrics.jsonl"


def train(subject: Subject, steps: int, on_step: OnStep, shapes: Shapes | None = None) -> Trained:
    """Train so many steps with `Trainer.train`; ``shapes`` watches the linear layers of the encoder."""
    whole_batches(subject, steps)
    result = Trained()
    count = steps * subject.spec.batch
    with TemporaryDirectory() as folder:
        torch.manual_seed(SEED)
        trained = subject.stage.build(subject.start)

        def stepped(done: int, _: int, loss: float) -> None:
            result.losses.append(loss)
            result.flops.append(trainer.costs.model_flops)
            result.tokens.append(trainer.costs.real_tokens)
            result.padded.append(trainer.costs.padded_tokens)
            on_step(done)

        trainer = Trainer(
            subject.stage,
            trained,
            subject.spec.ids[:count],
            subject.rows[:count],
            engine=replace(subject.spec.engine, checkpoint_seconds=math.inf),
            seed=SEED,
            folder=Path(folder),
            on_step=stepped,
        )
        with nullcontext() if shapes is None else shapes.watching(getattr(trained.module, "body", trained.module)):
            trainer.train()
    return result
