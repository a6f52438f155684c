"""The one trainer of all stages: order, schedule, step, checkpoint, meter, on one process or several.

What an optimizer step sees is one global batch (`runners.gradients`); how its gradients come together and who holds the
optimizer's state is the strategy's (`runners.parallel`).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.order import epoch_order
from genembench.problem import Problem
from methods.contract import Example, Stage, Trainable
from methods.parts.ledger import Ledger, charge, charging
from methods.parts.observe import Observations, observing
from runners import checkpoint, interrupt, snapshots
from runners.engine import Engine
from runners.gradients import StepGradients
from runners.interrupt import Interrupted
from runners.meter import Costs, Stopwatch, peak_memory, reset_peak_memory
from runners.parallel.group import current
from runners.parallel.strategy import Strategy, Together
from runners.schedule import learning_rate_factor
from runners.seeds import derive
from runners.snapshots import snapshot_steps
from runners.watch import watch_points, watched


class Diverged(Exception):
    """The loss or the gradient stopped being a finite number."""


class Trainer:
    """Trains one stage on one prefix of ordered examples.

    Args:
        stage: The objective.
        trained: Its module and tokenizer, from `Stage.build`.
        ids: Ids of the examples, in order (they decide the order of later epochs).
        examples: The rows, parallel to ``ids``.
        engine: Device, precision, micro-batch.
        seed: The run's seed.
        folder: Where ``metrics.jsonl`` and checkpoints go.
        on_step: Called after every step with (steps done, steps in all, loss).
        held_out: Triplets that are not trained on, whose alignment and uniformity are watched (`runners.watch`).
        evaluate_every: Fraction of the stage's course after which a snapshot is taken, again and again
            (`runners.snapshots`); None takes none.
    """

    def __init__(
        self,
        stage: Stage,
        trained: Trainable,
        ids: Sequence[str],
        examples: Sequence[Example],
        *,
        engine: Engine,
        seed: int,
        folder: Path,
        on_step: Callable[[int, int, float], None] | None = None,
        held_out: Sequence[Example] = (),
        evaluate_every: float | None = None,
    ) -> None:
        self.held_out = held_out
        self.stage = stage
        self.tokenizer = trained.tokenizer
        self.ids = ids
        self.examples = examples
        self.engine = engine
        self.seed = seed
        self.folder = folder
        self.on_step = on_step
        self.recipe = stage.recipe
        self.steps_per_epoch = math.ceil(len(examples) / self.recipe.batch_size)
        self.steps = self.steps_per_epoch * self.recipe.epochs
        self.snapshot_steps = snapshot_steps(len(examples), self.recipe, evaluate_every) if evaluate_every else {}
        self.group = current()
        self.parameters = checkpoint.trained(trained.module)
        if engine.gradient_checkpointing:
            _recompute_activations(trained.module)
        self.raw_module = trained.module
        self.costs = Costs(unique_examples={stage.data: len(examples)}, examples_seen={stage.data: 0})
        # Before anything is divided among processes: what is put back is whole.
        self.first, moments = self._resume()
        self.strategy = self._strategy()
        if moments:
            self.strategy.put_moments(moments)
        self._gradients = StepGradients(stage, self.tokenizer, self.strategy, self.group, engine)
        self._order: tuple[int, Sequence[int]] | None = None

    def train(self) -> Costs:
        """Train to the end, from the newest checkpoint if there is one.

        Raises:
            Diverged: loss or gradient norm is not finite.
            Interrupted: this process was asked to stop; there is a checkpoint.
        """
        first = self.first
        if self.group.leads:
            snapshots.forget_after(self.folder, first)
        device = self.engine.torch_device
        reset_peak_memory(device)
        self._warm_up(first)
        watch = Stopwatch(device)
        before, ledger = self.costs, Ledger()
        last_checkpoint = time.monotonic()
        metrics = self._open_metrics(first)
        try:
            for step in range(first, self.steps):
                seen = Observations()
                with watch.running(), charging(ledger), observing(seen):
                    report = self._step(step)
                due = time.monotonic() - last_checkpoint >= self.engine.checkpoint_seconds
                everybody = self._heard(ledger, seen, stop=interrupt.asked(), due=due)
                self.costs = everybody.charged(before, watch, step - first + 1, self.costs)
                report |= {f"diagnostic/{name}": value for name, value in everybody.seen.means().items()}
                looked = self._watched(step + 1)
                report |= looked
                # Before any checkpoint of this step: who goes on from one finds the snapshots until there.
                if self._snapshot(step + 1) or looked:
                    # Nor is anybody charged for the memory that it took.
                    reset_peak_memory(device)
                metrics.write(json.dumps({"step": step + 1, **report, "seconds": self.costs.training_seconds}) + "\n")
                self._log(step + 1, report)
                stopping = everybody.stop and step + 1 < self.steps
                if stopping or everybody.due:
                    metrics.flush()
                    self.save(step + 1)
                    last_checkpoint = time.monotonic()
                if self.on_step is not None:
                    self.on_step(step + 1, self.steps, report["loss"])
                if stopping:
                    raise Interrupted(f"stopped on request after step {step + 1}; the same command goes on from there")
        finally:
            metrics.close()
        return self.costs

    def save(self, step: int) -> None:
        """Write a checkpoint after ``step`` steps. All processes must call it."""
        moments = self.strategy.moments()
        with self.strategy.whole():
            if self.group.leads:
                checkpoint.save(self.folder, step, self.parameters, moments, {"costs": self.costs.to_json()})
        self.group.wait()

    def global_batch(self, step: int) -> list[int]:
        """Positions in ``examples`` of the batch of ``step``; an epoch's last batch may be smaller."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order(self.ids, self.seed, epoch)
        order = self._order[1]
        return list(order[index * self.recipe.batch_size : (index + 1) * self.recipe.batch_size])

    def gradients(self, step: int) -> dict[str, Tensor]:
        """Compute the terms of ``step``'s loss, leaving gradients on the parameters; return the terms (divided)."""
        rows = [self.examples[i] for i in self.global_batch(step)]
        return self._gradients.compute(rows, derive(self.seed, self.stage.name, "step", step))

    def _step(self, step: int) -> dict[str, Any]:
        rate = self.recipe.learning_rate * learning_rate_factor(
            step, self.steps, self.recipe.schedule, self.recipe.warmup
        )
        terms = self.gradients(step)
        loss = sum(value.item() for value in terms.values())
        norm = self.strategy.step(rate, self.recipe.clip_norm) if math.isfinite(loss) else math.nan
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(
                f"stage {self.stage.name}, step {step + 1}: loss {loss}, gradient norm {norm}, learning rate {rate:.3g}"
            )
        self.costs.examples_seen[self.stage.data] += len(self.global_batch(step))
        return {
            "loss": loss,
            **{f"term/{name}": value.item() for name, value in terms.items() if len(terms) > 1},
            "learning_rate": rate,
            "gradient_norm": norm,
            "examples_seen": self.costs.examples_seen[self.stage.data],
        }

    def _watched(self, done: int) -> dict[str, float]:
        """Alignment and uniformity after the first step and each quarter; nobody is charged for looking."""
        body = getattr(self.raw_module, "body", None)
        if not self.held_out or body is None or done not in watch_points(self.steps):
            return {}
        return watched(self.stage.method, body, self.tokenizer, self.held_out, self.engine.precision)

    def _snapshot(self, done: int) -> bool:
        """Take the snapshot that is due after ``done`` steps, if one is; nobody is charged for it."""
        if done not in self.snapshot_steps:
            return False
        with self.strategy.whole():
            if self.group.leads:
                self._write_snapshot(done)
        return True

    def _write_snapshot(self, done: int) -> None:
        # In the first epoch not every example has been used.
        used = {kind: min(count, self.costs.examples_seen[kind]) for kind, count in self.costs.unique_examples.items()}
        snapshots.write(self.folder, done, self.raw_module, replace(self.costs, unique_examples=used))

    def _optimizer(self) -> torch.optim.AdamW:
        # Decay pulls on matrices only; norms and biases have no scale to lose.
        matrices = [p for p in self.parameters.values() if p.ndim >= 2]
        others = [p for p in self.parameters.values() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.recipe.learning_rate,
            betas=self.recipe.betas,
            eps=self.recipe.eps,
            fused=True,
        )

    def _strategy(self) -> Strategy:
        common: dict[str, Any] = {"precision": self.engine.precision, "device": self.engine.torch_device}
        if self.engine.deepspeed is None:
            return Together(self.raw_module, self.parameters, self._optimizer(), self.group, **common)
        # Only who asks for DeepSpeed pays for its import.
        from runners.parallel.zero import Zero, read_config

        config, clip = read_config(self.engine.deepspeed), self.recipe.clip_norm
        return Zero(
            self.raw_module, self.parameters, self._optimizer(), self.group, config=config, clip_norm=clip, **common
        )

    def _resume(self) -> tuple[int, dict[str, Tensor]]:
        found = checkpoint.latest(self.folder)
        if found is None:
            return 0, {}
        moments, state = checkpoint.load(found, self.parameters)
        self.costs = Costs.from_json(state["costs"])
        return int(state["step"]), moments

    def _warm_up(self, step: int) -> None:
        """Pay what only a GPU's first pass pays (kernel selection, allocation) outside the charged seconds."""
        # DeepSpeed counts backward passes: a step that is computed for nothing would be one too many.
        if self.engine.device == "cuda" and step < self.steps and self.engine.deepspeed is None:
            with charging(None):
                self.gradients(step)
            self.strategy.forget()

    def _open_metrics(self, first: int) -> Any:
        """Open ``metrics.jsonl`` without the lines that a killed run wrote after its last checkpoint."""
        if not self.group.leads:
            return Path(os.devnull).open("w", encoding="utf-8")
        file = self.folder / "metrics.jsonl"
        kept = file.read_text(encoding="utf-8").splitlines(keepends=True)[:first] if file.exists() else []
        file.write_text("".join(kept), encoding="utf-8")
        return file.open("a", encoding="utf-8")

    def _heard(self, ledger: Ledger, seen: Observations, *, stop: bool, due: bool) -> Everybody:
        """Hear from all processes what they spent and saw, whether one is to stop, and whether a checkpoint is due."""
        peak = peak_memory(self.engine.torch_device)
        if self.group.world == 1:
            return Everybody(ledger, seen, peak, stop, due)
        parts = self.group.gather((ledger, seen.on_cpu(), peak, stop, due))
        total, all_seen = Ledger(), Observations()
        for part, observed, *_ in parts:
            with charging(total):
                charge(**vars(part))
            all_seen.absorb(observed)
        # The first process's clock decides for all.
        return Everybody(total, all_seen, max(p[2] for p in parts), any(p[3] for p in parts), parts[0][4])

    def _log(self, step: int, report: Mapping[str, Any]) -> None:
        if self.engine.tensorboard and self.group.leads:
            writer = self._tensorboard()
            for name, value in report.items():
                writer.add_scalar(name, value, step)

    def _tensorboard(self) -> Any:
        if not hasattr(self, "_writer"):
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise Problem(
                    "--tensorboard: tensorboard is not installed", "pip install -e '.[tensorboard]'"
                ) from error
            self._writer = SummaryWriter(str(self.folder / "tensorboard"))
        return self._writer


@dataclass(frozen=True)
class Everybody:
    """What all processes together spent and saw so far: memory is the largest of any."""

    ledger: Ledger
    seen: Observations
    peak_memory: int
    stop: bool
    due: bool

    def charged(self, before: Costs, watch: Stopwatch, steps: int, now: Costs) -> Costs:
        """Return costs: what had been spent ``before``, and what ``steps`` steps since have added."""
        return Costs(
            unique_examples=before.unique_examples,
            examples_seen=now.examples_seen,
            real_tokens=before.real_tokens + self.ledger.real_tokens,
            padded_tokens=before.padded_tokens + self.ledger.padded_tokens,
            optimizer_steps=before.optimizer_steps + steps,
            model_flops=before.model_flops + self.ledger.model_flops,
            training_seconds=before.training_seconds + watch.seconds,
            peak_memory_bytes=max(now.peak_memory_bytes, self.peak_memory),
        )


def _recompute_activations(module: nn.Module) -> None:
    from transformers import PreTrainedModel

    for model in module.modules():
        if isinstance(model, PreTrainedModel):
            model.activation_checkpointing_enable({"use_reentrant": False})
