"""The gradients of one optimizer step: of a global batch, over its micro-batches and over all processes.

An additive loss is divided by its weight over the whole batch, a joint loss is computed on the representations of the
whole batch; so neither the micro-batch, nor length grouping, nor the number of processes changes a gradient.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from methods.contract import Example, Stage
from methods.parts.ledger import Ledger, charge, charging
from methods.parts.losses import LossTerm
from methods.parts.observe import Observations, observing, pass_on
from runners.engine import Engine
from runners.memory import ran_out, release_cached
from runners.meter import reset_peak_memory
from runners.parallel.dealing import deal
from runners.parallel.group import Group
from runners.parallel.strategy import Strategy
from runners.seeds import derive

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batches = Sequence[tuple[Any, bool]]
"""Collated micro-batches, and whether each counts (`runners.parallel.dealing.Portion`)."""


class StepGradients:
    """Computes loss and gradients of global batches.

    Attributes:
        micro_batch: Examples in one pass of one process; None takes all at once. It is halved when memory runs out.
        cached: Whether joint losses cache gradients (Gao et al. 2021, arXiv 2101.06983).
    """

    def __init__(
        self, stage: Stage, tokenizer: PreTrainedTokenizerBase, strategy: Strategy, group: Group, engine: Engine
    ) -> None:
        self.stage = stage
        self.micro_batch = engine.micro_batch
        self.cached = engine.gradient_cache
        self._tokenizer = tokenizer
        self._strategy = strategy
        self._group = group
        self._device = engine.torch_device

    def compute(self, rows: Sequence[Example], seed: int) -> dict[str, Tensor]:
        """Leave the gradients of the global batch's loss on the parameters; return its terms (divided).

        Where memory runs out the step is computed again with micro-batches of half the size. Several processes cannot
        do so on the spot, as those that had room wait for the gradients of the one that had not: who started them does.

        Raises:
            RuntimeError: memory ran out with micro-batches of one example, or on one of several processes.
        """
        while True:
            ledger, seen = Ledger(), Observations()
            try:
                with charging(ledger), observing(seen):
                    terms = self._compute(rows, seed)
            except (RuntimeError, MemoryError) as error:
                size = min(self.micro_batch or len(rows), len(rows))
                if not ran_out(error) or size == 1 or not self._strategy.can_start_over:
                    raise
                self._halve(size, error)
            else:
                charge(**vars(ledger))
                pass_on(seen)
                return terms
            # Out here the traceback no longer holds the failed pass's activations.
            self._strategy.forget()
            release_cached()
            # Nor is what failed the memory that this training takes.
            reset_peak_memory(self._device)

    def _halve(self, size: int, error: BaseException) -> None:
        self.micro_batch = (size + 1) // 2
        # Without it a joint loss keeps every micro-batch's activations.
        self.cached = True
        logging.getLogger("genembench").warning(
            "stage %s: memory ran out with micro-batches of %d (%s); going on with %d%s; batch and loss stay the same",
            self.stage.name,
            size,
            str(error).splitlines()[0],
            self.micro_batch,
            " and gradient caching" if self.stage.loss_kind == "joint" else "",
        )

    def _compute(self, rows: Sequence[Example], seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        rank, world = self._group.rank, self._group.world
        portions = deal(rows, self.stage.cost, size=self.micro_batch, rank=rank, world=world)
        batches = [(self.stage.collate(portion.rows, self._tokenizer), portion.counts) for portion in portions]
        if rank:
            # Batches are collated alike everywhere (what is masked follows the row); dropout is each process's own.
            torch.manual_seed(derive(seed, "rank", rank))
        return self._additive(batches) if self.stage.loss_kind == "additive" else self._joint(batches)

    def _additive(self, batches: Batches) -> dict[str, Tensor]:
        declared = [self.stage.weigh(batch) for batch, _ in batches]
        weights: dict[str, float] = dict.fromkeys(declared[0], 0.0)
        own = [weighed for weighed, (_, counts) in zip(declared, batches, strict=True) if counts]
        for one in [each for part in self._group.gather(own) for each in part]:
            for name, weight in one.items():
                weights[name] = weights.get(name, 0.0) + weight
        sums: dict[str, Tensor] = {}
        for number, ((batch, counts), weighed) in enumerate(zip(batches, declared, strict=True), 1):
            with self._strategy.passing(last=number == len(batches)):
                terms: dict[str, LossTerm] = self._forward(batch, counts)
                self._check(terms, weighed)
                shares = {name: _share(term, weights[name]) for name, term in terms.items()}
                total = torch.stack(list(shares.values())).sum()
                self._strategy.backward(total if counts else total * 0)
            if counts:
                for name, share in shares.items():
                    sums[name] = sums.get(name, torch.zeros_like(share)) + share.detach()
        if self._group.world == 1:
            return sums
        parts = self._group.gather({name: value.cpu() for name, value in sums.items()})
        return {name: torch.stack([part[name] for part in parts if name in part]).sum() for name in weights}

    def _joint(self, batches: Batches) -> dict[str, Tensor]:
        if self._group.world == 1 and (not self.cached or len(batches) == 1):
            with self._strategy.passing(last=True):
                shares = self._shares(_concatenate([self._forward(batch, True) for batch, _ in batches]))
                self._strategy.backward(torch.stack(list(shares.values())).sum())
            return {name: share.detach() for name, share in shares.items()}
        return self._replayed(batches) if self.cached and len(batches) > 1 else self._kept(batches)

    def _replayed(self, batches: Batches) -> dict[str, Tensor]:
        """Gradient caching: representations first, then each micro-batch again, with its share of their gradient."""
        states, first = [], []
        # Recomputation is not charged twice, so this pass is free.
        with torch.no_grad(), charging(None), observing(None):
            for batch, _ in batches:
                states.append(_random_state(self._device))
                first.append(self._strategy.forward(batch))
        terms, gradients = self._through_the_loss(first, batches)
        for number, ((batch, counts), state, wanted) in enumerate(zip(batches, states, gradients, strict=True), 1):
            # The same dropout, and the cached gradients flow on into the parameters.
            _set_random_state(self._device, state)
            with self._strategy.passing(last=number == len(batches)):
                self._strategy.backward(_surrogate([self._forward(batch, counts)], [wanted]))
        return terms

    def _kept(self, batches: Batches) -> dict[str, Tensor]:
        """Several processes, every micro-batch's activations kept."""
        outputs = []
        for batch, counts in batches[:-1]:
            with self._strategy.passing(last=False):
                outputs.append(self._forward(batch, counts))
        with self._strategy.passing(last=True):
            outputs.append(self._forward(*batches[-1]))
            terms, gradients = self._through_the_loss(outputs, batches)
            self._strategy.backward(_surrogate(outputs, gradients))
        return terms

    def _through_the_loss(
        self, outputs: Sequence[Mapping[str, Tensor]], batches: Batches
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Compute the joint loss over all processes' representations; return its terms and each output's gradient.

        Every process computes the whole loss, on the same tensors in the same order, and keeps its own rows' gradients:
        added up over processes, they are those of one process with all rows.
        """
        # A row that others count is none of this process's.
        own = [
            {name: one.detach() if counts else one.detach()[:0] for name, one in part.items()}
            for part, (_, counts) in zip(outputs, batches, strict=True)
        ]
        leaves: dict[str, Tensor] = {}
        everybody: dict[str, Tensor] = {}
        for name, rows in _concatenate(own).items():
            parts = self._group.gather_rows(rows)
            leaves[name] = rows.requires_grad_() if rows.is_floating_point() else rows
            everybody[name] = torch.cat([*parts[: self._group.rank], rows, *parts[self._group.rank + 1 :]])
        shares = self._shares(everybody)
        torch.stack(list(shares.values())).sum().backward()
        counts = [len(next(iter(part.values()))) for part in own]
        whole = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        split = {name: gradient.split(counts) for name, gradient in whole.items()}
        gradients = [{name: parts[i] for name, parts in split.items()} for i in range(len(own))]
        return {name: share.detach() for name, share in shares.items()}, gradients

    def _forward(self, batch: Any, counts: bool) -> Any:
        if counts:
            return self._strategy.forward(batch)
        with charging(None), observing(None):
            return self._strategy.forward(batch)

    def _shares(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: _share(term, term.weight) for name, term in self.stage.joint_loss(outputs).items()}

    def _check(self, terms: Mapping[str, LossTerm], declared: Mapping[str, float]) -> None:
        found = {name: term.weight for name, term in terms.items()}
        if found.keys() != declared.keys() or any(abs(found[n] - declared[n]) > 1e-6 for n in found):
            raise ValueError(
                f"stage {self.stage.name}: weigh() promised the weights {dict(declared)}, forward() returned {found}"
            )


def _share(term: LossTerm, weight: float) -> Tensor:
    # Where nothing weighs anything (no token of the batch could be masked) the sum is 0 as well.
    return term.coefficient * term.sum / (weight or 1.0)


def _concatenate(outputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([one[name] for one in outputs]) for name in outputs[0]}


def _surrogate(outputs: Sequence[Mapping[str, Tensor]], gradients: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Return a number whose gradients are those that flow on from the outputs; 0 for rows that others count."""
    parts = [
        (one[name] * gradient).sum() if len(gradient) else one[name].sum() * 0
        for one, wanted in zip(outputs, gradients, strict=True)
        for name, gradient in wanted.items()
    ]
    return torch.stack(parts).sum()


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
