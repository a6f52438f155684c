"""The one trainer of all stages: batches, loss, backward, step, checkpoint, meter.

An optimizer step sees one global batch. An additive loss is divided by its weight over the whole batch, a joint loss is
computed on the representations of the whole batch; so neither the micro-batch nor length grouping changes a gradient.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from transformers import PreTrainedModel

from benchmarks.order import epoch_order
from genembench.problem import Problem
from methods.contract import Example, Stage, Trainable
from methods.parts.ledger import Ledger, charging
from methods.parts.losses import LossTerm
from methods.parts.observe import Observations, observing
from runners import checkpoint, interrupt, snapshots
from runners.engine import Engine
from runners.interrupt import Interrupted
from runners.meter import Costs, Stopwatch, peak_memory, reset_peak_memory
from runners.schedule import learning_rate_factor
from runners.seeds import derive
from runners.snapshots import snapshot_steps
from runners.watch import watch_points, watched

ENGINE_VERSION = 1
"""Part of every training address: raise it when the trainer's arithmetic changes, and nothing old is reused."""


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
        self.accelerator = _accelerator(engine)
        self.parameters = checkpoint.trained(trained.module)
        self.optimizer = self._optimizer()
        if engine.gradient_checkpointing:
            _recompute_activations(trained.module)
        self.raw_module = trained.module
        self.module: nn.Module = self.accelerator.prepare_model(trained.module)
        self.costs = Costs(unique_examples={stage.data: len(examples)}, examples_seen={stage.data: 0})
        self._order: tuple[int, Sequence[int]] | None = None

    def train(self) -> Costs:
        """Train to the end, from the newest checkpoint if there is one.

        Raises:
            Diverged: loss or gradient norm is not finite.
            Interrupted: this process was asked to stop; there is a checkpoint.
        """
        first = self._resume()
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
                self.costs = self._charged(before, ledger, watch, step - first + 1, self.costs)
                report |= {f"diagnostic/{name}": value for name, value in seen.means().items()}
                looked = self._watched(step + 1)
                report |= looked
                # Before any checkpoint of this step: who goes on from one finds the snapshots until there.
                if self._snapshot(step + 1) or looked:
                    # Nor is anybody charged for the memory that it took.
                    before.peak_memory_bytes = self.costs.peak_memory_bytes
                    reset_peak_memory(device)
                metrics.write(json.dumps({"step": step + 1, **report, "seconds": self.costs.training_seconds}) + "\n")
                self._log(step + 1, report)
                stopping = interrupt.asked() and step + 1 < self.steps
                if stopping or time.monotonic() - last_checkpoint >= self.engine.checkpoint_seconds:
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
        """Write a checkpoint after ``step`` steps."""
        checkpoint.save(self.folder, step, self.raw_module, self.optimizer, {"costs": self.costs.to_json()})

    def global_batch(self, step: int) -> list[int]:
        """Positions in ``examples`` of the batch of ``step``; an epoch's last batch may be smaller."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order(self.ids, self.seed, epoch)
        order = self._order[1]
        return list(order[index * self.recipe.batch_size : (index + 1) * self.recipe.batch_size])

    def gradients(self, step: int) -> dict[str, Tensor]:
        """Compute the terms of ``step``'s loss, leaving gradients on the parameters; return the terms (divided)."""
        torch.manual_seed(derive(self.seed, self.stage.name, "step", step))
        rows = [self.examples[i] for i in self.global_batch(step)]
        batches = [self.stage.collate(part, self.tokenizer) for part in self._micro_batches(rows)]
        if self.stage.loss_kind == "additive":
            return self._additive(batches)
        return self._joint(batches)

    def _step(self, step: int) -> dict[str, Any]:
        rate = self.recipe.learning_rate * learning_rate_factor(
            step, self.steps, self.recipe.schedule, self.recipe.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self.gradients(step)
        loss = sum(value.item() for value in terms.values())
        clip = self.recipe.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(
                f"stage {self.stage.name}, step {step + 1}: loss {loss}, gradient norm {norm}, learning rate {rate:.3g}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.costs.examples_seen[self.stage.data] += len(self.global_batch(step))
        return {
            "loss": loss,
            **{f"term/{name}": value.item() for name, value in terms.items() if len(terms) > 1},
            "learning_rate": rate,
            "gradient_norm": norm,
            "examples_seen": self.costs.examples_seen[self.stage.data],
        }

    def _additive(self, batches: Sequence[Any]) -> dict[str, Tensor]:
        weights: dict[str, float] = {}
        declared = [self.stage.weigh(batch) for batch in batches]
        for one in declared:
            for name, weight in one.items():
                weights[name] = weights.get(name, 0.0) + weight
        sums: dict[str, Tensor] = {}
        for batch, weighed in zip(batches, declared, strict=True):
            terms: dict[str, LossTerm] = self.module(batch)
            self._check(terms, weighed)
            shares = {name: _share(term, weights[name]) for name, term in terms.items()}
            self.accelerator.backward(torch.stack(list(shares.values())).sum())
            for name, share in shares.items():
                sums[name] = sums.get(name, torch.zeros_like(share)) + share.detach()
        return sums

    def _joint(self, batches: Sequence[Any]) -> dict[str, Tensor]:
        if not self.engine.gradient_cache or len(batches) == 1:
            outputs = _concatenate([self.module(batch) for batch in batches])
            shares = self._joint_shares(outputs)
            self.accelerator.backward(torch.stack(list(shares.values())).sum())
            return {name: share.detach() for name, share in shares.items()}
        # Gradient caching. First pass: representations only; recomputation is not charged twice, so this one is free.
        states: list[Any] = []
        first: list[dict[str, Tensor]] = []
        with torch.no_grad(), charging(None), observing(None):
            for batch in batches:
                states.append(_random_state(self.engine.torch_device))
                first.append(self.module(batch))
        leaves = [
            {name: t.requires_grad_() if t.is_floating_point() else t for name, t in outputs.items()}
            for outputs in first
        ]
        shares = self._joint_shares(_concatenate(leaves))
        torch.stack(list(shares.values())).sum().backward()
        # Second pass: the same dropout, and the cached gradients flow on into the parameters.
        for batch, state, cached in zip(batches, states, leaves, strict=True):
            _set_random_state(self.engine.torch_device, state)
            outputs = self.module(batch)
            names = [name for name, leaf in cached.items() if leaf.grad is not None]
            surrogate = sum((outputs[name] * cached[name].grad).sum() for name in names)
            assert isinstance(surrogate, Tensor)
            self.accelerator.backward(surrogate)
        return {name: share.detach() for name, share in shares.items()}

    def _joint_shares(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: _share(term, term.weight) for name, term in self.stage.joint_loss(outputs).items()}

    def _check(self, terms: Mapping[str, LossTerm], declared: Mapping[str, float]) -> None:
        found = {name: term.weight for name, term in terms.items()}
        if found.keys() != declared.keys() or any(abs(found[n] - declared[n]) > 1e-6 for n in found):
            raise ValueError(
                f"stage {self.stage.name}: weigh() promised the weights {dict(declared)}, forward() returned {found}"
            )

    def _micro_batches(self, rows: Sequence[Example]) -> list[list[Example]]:
        size = self.engine.micro_batch or len(rows)
        if size >= len(rows):
            return [list(rows)]
        # Similar lengths together, so that a micro-batch pads little; the loss does not depend on the split.
        by_length = sorted(rows, key=self.stage.cost, reverse=True)
        return [list(by_length[i : i + size]) for i in range(0, len(by_length), size)]

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
        # In the first epoch not every example has been used.
        used = {kind: min(count, self.costs.examples_seen[kind]) for kind, count in self.costs.unique_examples.items()}
        snapshots.write(self.folder, done, self.raw_module, replace(self.costs, unique_examples=used))
        return True

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

    def _resume(self) -> int:
        found = checkpoint.latest(self.folder)
        if found is None:
            return 0
        state = checkpoint.load(found, self.raw_module, self.optimizer)
        self.costs = Costs.from_json(state["costs"])
        return int(state["step"])

    def _warm_up(self, step: int) -> None:
        """Pay what only a GPU's first pass pays (kernel selection, allocation) outside the charged seconds."""
        if self.engine.device == "cuda" and step < self.steps:
            with charging(None):
                self.gradients(step)
            self.optimizer.zero_grad(set_to_none=True)

    def _open_metrics(self, first: int) -> Any:
        """Open ``metrics.jsonl`` without the lines that a killed run wrote after its last checkpoint."""
        file = self.folder / "metrics.jsonl"
        kept = file.read_text(encoding="utf-8").splitlines(keepends=True)[:first] if file.exists() else []
        file.write_text("".join(kept), encoding="utf-8")
        return file.open("a", encoding="utf-8")

    def _charged(self, before: Costs, ledger: Ledger, watch: Stopwatch, steps: int, now: Costs) -> Costs:
        return Costs(
            unique_examples=before.unique_examples,
            examples_seen=now.examples_seen,
            real_tokens=before.real_tokens + ledger.real_tokens,
            padded_tokens=before.padded_tokens + ledger.padded_tokens,
            optimizer_steps=before.optimizer_steps + steps,
            model_flops=before.model_flops + ledger.model_flops,
            training_seconds=before.training_seconds + watch.seconds,
            peak_memory_bytes=max(before.peak_memory_bytes, peak_memory(self.engine.torch_device)),
        )

    def _log(self, step: int, report: Mapping[str, Any]) -> None:
        if self.engine.tensorboard:
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


def _share(term: LossTerm, weight: float) -> Tensor:
    return term.coefficient * term.sum / weight


def _concatenate(outputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([one[name] for one in outputs]) for name in outputs[0]}


def _accelerator(engine: Engine) -> Accelerator:
    # accelerate keeps the first configuration of a process; each stage brings its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=engine.device == "cpu", mixed_precision="bf16" if engine.precision == "bfloat16" else "no"
    )
    if accelerator.num_processes > 1:
        raise Problem(
            f"training on {accelerator.num_processes} processes is not supported yet",
            "Start genembench without torchrun or accelerate launch.",
        )
    return accelerator


def _recompute_activations(module: nn.Module) -> None:
    for model in module.modules():
        if isinstance(model, PreTrainedModel):
            model.activation_checkpointing_enable({"use_reentrant": False})


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
