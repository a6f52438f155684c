"""A stage's loss, and what a few steps do to its weights and to the loss itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Example
from methods.parts.dropout import set_attention_dropout
from methods.parts.losses import LossTerm
from runners.contract_checks.subject import BATCH, FINITE, Broken, Case, Subject
from runners.engine import Engine

GRADIENT_TOLERANCE = 1e-4
MICRO_BATCH = 3
STEPS = 30
WEIGHT_TOLERANCE = 1e-6


def loss(subject: Subject) -> str:
    """The loss is what `loss_kind` says, weighs what `weigh` says, and is the same in micro-batches."""
    details = []
    for case in subject.cases():
        _promised(case)
        details.append(_micro_batches(case))
        # The trainer refuses what is not finite; 40 rows also make a last batch that is smaller.
        case.trainer("loss", 40).train()
    return "; ".join(dict.fromkeys(details))


def _promised(case: Case) -> None:
    """Look at one batch as the trainer will."""
    stage = case.stage()
    trainer = case.trainer("promised", BATCH)
    rows = trainer.examples
    batch = stage.collate(rows, trainer.tokenizer)
    returned = trainer.raw_module(batch)
    if not isinstance(returned, Mapping) or not returned:
        raise Broken(f"{case.label}forward returns {type(returned).__name__}", "It returns a dict, see loss_kind.")
    if stage.loss_kind == "joint":
        _representations(case, returned, rows)
        returned = stage.joint_loss(returned)
    for name, term in returned.items():
        if not isinstance(term, LossTerm):
            raise Broken(
                f"{case.label}term {name} of the loss is {type(term).__name__}",
                "Return LossTerm(sum, weight): a sum over examples or tokens, and what it is divided by.",
            )
        if not isinstance(term.sum, Tensor) or term.sum.ndim or not term.weight > 0:
            shape = list(term.sum.shape) if isinstance(term.sum, Tensor) else type(term.sum).__name__
            raise Broken(
                f"{case.label}term {name} has a sum of shape {shape} and weight {term.weight}",
                "The sum is a tensor of shape [], one number; the weight says of how many examples or tokens it is.",
            )
        if not bool(term.sum.isfinite()):
            raise Broken(f"{case.label}term {name} of the loss is {term.sum.item()}", FINITE)
        if not term.sum.requires_grad:
            raise Broken(
                f"{case.label}term {name} of the loss does not depend on what is trained",
                "Look for a detach(), a no_grad(), an argmax or a frozen model between the weights and the loss.",
            )
    if stage.loss_kind == "additive":
        declared = stage.weigh(batch)
        found = {name: term.weight for name, term in returned.items()}
        if declared.keys() != found.keys() or any(abs(declared[n] - found[n]) > WEIGHT_TOLERANCE for n in found):
            raise Broken(
                f"{case.label}weigh promises {dict(declared)}, forward returns terms of weight {found}",
                "They must agree: weigh is asked before forward, and every micro-batch is divided by the sum of it.",
            )


def _representations(case: Case, outputs: Mapping[str, Any], rows: Sequence[Example]) -> None:
    for name, value in outputs.items():
        if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != len(rows):
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise Broken(
                f"{case.label}forward of {len(rows)} examples returns {name} of {shape}",
                "A joint stage returns tensors whose first dimension is the examples; they are put together over "
                "micro-batches before joint_loss sees them. A loss that is summed already is loss_kind additive.",
            )


def _micro_batches(case: Case) -> str:
    whole = _gradients(case)
    drawn = _difference(whole, _gradients(case, draw=1)) > 0
    engines = [Engine(micro_batch=MICRO_BATCH)]
    if case.stage().loss_kind == "joint":
        engines.append(Engine(micro_batch=MICRO_BATCH, gradient_cache=True))
    worst = 0.0
    for engine in engines:
        how = f"micro-batches of {MICRO_BATCH}" + (" and gradient caching" if engine.gradient_cache else "")
        try:
            parts = _gradients(case, engine)
        except RuntimeError as error:
            raise Broken(
                f"{case.label}a batch of {BATCH} works, {how} do not: {error}",
                "Tensors of all micro-batches are put together along the first dimension, the examples; the others "
                "must have one size whatever the batch.",
            ) from error
        difference = _difference(whole, parts)
        worst = max(worst, difference)
        if not difference <= GRADIENT_TOLERANCE:
            if drawn:
                # Which is a method's right; drawing for each row by itself would make the split harmless.
                return f"{case.label}micro-batches cannot be compared: random numbers are drawn for a batch as a whole"
            raise Broken(
                f"{case.label}with {how}, gradients differ by {difference:.1e} of the largest from the whole batch's",
                "An additive term is a sum over examples or tokens, never a mean, and no example may see the others; "
                "a loss that needs them is joint: forward returns vectors, joint_loss compares them.",
            )
    return f"{case.label}gradients differ by {worst:.0e} of the largest"


def _gradients(case: Case, engine: Engine | None = None, *, draw: int = 0) -> dict[str, Tensor]:
    """Return the first step's gradients, without dropout; ``draw`` changes only what else is drawn in the step."""
    trainer = case.trainer("gradients", BATCH, engine=engine)
    for module in trainer.raw_module.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    set_attention_dropout(trainer.raw_module, 0.0)
    trainer.seed = draw
    trainer.gradients(0)
    found = {name: p.grad.clone() for name, p in trainer.parameters.items() if p.grad is not None}
    for name, gradient in found.items():
        if not bool(gradient.isfinite().all()):
            raise Broken(f"{case.label}the loss is finite, the gradient of {name} is not", FINITE)
    return found


def _difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest difference, against the largest number."""
    if one.keys() != other.keys():
        return float("inf")
    largest = max((float(value.abs().max()) for value in one.values()), default=0.0)
    return max((float((other[name] - one[name]).abs().max()) for name in one), default=0.0) / (largest or 1.0)


def moves(subject: Subject) -> str:
    """Every trainable parameter is moved by the first step, LoRA's A by the second; the frozen ones stay."""
    return "; ".join([_moves(case) for case in subject.cases()])


def _moves(case: Case) -> str:
    still: list[set[str]] = []

    def look(done: int, steps: int, value: float) -> None:
        still.append({name for name, p in trainer.parameters.items() if torch.equal(before[name], p)})

    trainer = case.trainer("moves", 2 * BATCH, on_step=look)
    before = {name: p.detach().clone() for name, p in trainer.raw_module.named_parameters()}
    trainer.train()
    # LoRA's A gets no gradient as long as its B is 0, which is so in the first step.
    stuck = sorted({name for name in still[0] if "lora_A" not in name} | still[1])
    if stuck:
        raise Broken(
            f"{case.label}{len(stuck)} of {len(trainer.parameters)} trainable parameters do not move, the first is "
            f"{stuck[0]}",
            "The loss does not depend on them: use them in forward, or freeze them in build with "
            "requires_grad_(False). A detach(), a no_grad() or an argmax on the way also cuts the gradient off.",
        )
    frozen = before.keys() - trainer.parameters.keys()
    drifted = sorted(name for name in frozen if not torch.equal(before[name], trainer.raw_module.get_parameter(name)))
    if drifted:
        raise Broken(
            f"{case.label}{len(drifted)} frozen parameters have changed, the first is {drifted[0]}",
            "Only the optimizer changes weights, and only those that require gradients: do not write to them.",
        )
    return f"{case.label}{len(trainer.parameters)} trained, {len(frozen)} frozen"


def improves(subject: Subject) -> str:
    """A few steps make the loss on their own examples smaller."""
    return "; ".join([_improves(case) for case in subject.cases()])


def _improves(case: Case) -> str:
    losses: list[float] = []
    trainer = case.trainer(
        "improves", 2 * BATCH, epochs=STEPS // 2, on_step=lambda done, steps, value: losses.append(value)
    )
    trainer.train()
    # Two steps are an epoch: beginning and end are of the same examples.
    begin, end = sum(losses[:2]) / 2, sum(losses[-4:]) / 4
    if not end < begin:
        raise Broken(
            f"{case.label}{len(losses)} steps on {2 * BATCH} examples took the loss from {begin:.4g} to {end:.4g}",
            "Training must make it smaller: look at what is detached from the loss, at gradients of your own making, "
            "and at what the frozen weights leave to be learnt.",
        )
    return f"{case.label}loss {begin:.3g} to {end:.3g}"
