"""What makes a comparison fair and repeatable: exact resumption, budgets, charges and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import torch
from torch import Tensor

from runners.contract_checks.subject import Broken, Case, Rehearsal, Subject

EXAMPLES = 40
"""Three steps an epoch, the last of them smaller."""
EPOCHS = 2
STOP_AFTER = 4
"""Steps; in the second epoch, whose order is another."""
CAPS = (5, 16, 37)
"""Budgets below, at and beside a multiple of the batch."""


class _Stop(Exception):
    """Ends a training as a killed process would."""


def resume(subject: Subject) -> str:
    """A training that was stopped and went on from its checkpoint ends at the weights of one that was not."""
    for case in subject.cases():
        _resume(case)
    return f"bit for bit, after step {STOP_AFTER}"


def _resume(case: Case) -> None:
    def stop(done: int, steps: int, value: float) -> None:
        if done == STOP_AFTER:
            trainer.save(done)
            raise _Stop

    whole = _train(case, "whole")
    trainer = case.trainer("resumed", EXAMPLES, epochs=EPOCHS, on_step=stop)
    with suppress(_Stop):
        trainer.train()
    other = _unequal(whole, _train(case, "resumed"))
    if other:
        raise Broken(
            f"{case.label}stopped after step {STOP_AFTER} and resumed, {len(other)} of {len(whole)} parameters end at "
            f"other values, the first is {other[0]}",
            "A checkpoint holds the parameters that require gradients and the optimizer, nothing else. Keep no "
            "counters, queues or averages in the stage or the module (a buffer is lost too), and draw from torch's "
            "generator only, which every step seeds.",
        )


def budget(subject: Subject) -> str:
    """Training takes the examples of its budget and no others, and every token is charged."""
    details = []
    for case in subject.cases():
        for cap in CAPS:
            stage_data = case.data(cap)
            trainer = case.trainer(f"budget-{cap}", cap, epochs=EPOCHS)
            costs = trainer.train()
            given = cast(Rehearsal, trainer.stage).given
            unique = sum(costs.unique_examples.values())
            if not set(given) <= set(stage_data.ids) or unique > cap:
                raise Broken(
                    f"{case.label}a budget of {cap} examples: {len(set(given) | set(trainer.ids))} were consumed",
                    "Take rows from collate's argument only.",
                )
            if costs.examples_seen != {case.stage().data: cap * EPOCHS} or len(given) != cap * EPOCHS:
                raise Broken(
                    f"{case.label}a budget of {cap} in {EPOCHS} epochs: {costs.examples_seen} seen, {len(given)} given",
                    f"Each example is seen once an epoch: {cap * EPOCHS}.",
                )
            if not (costs.model_flops > 0 and 0 < costs.real_tokens <= costs.padded_tokens):
                raise Broken(
                    f"{case.label}{costs.optimizer_steps} steps were charged {costs.model_flops:.3g} FLOPs and "
                    f"{costs.real_tokens} tokens, {costs.padded_tokens} with padding",
                    "Texts go through the model in run_body, which charges for them; a model that is called directly "
                    "is for free, and the comparison unfair.",
                )
        details.append(f"{case.label}{costs.real_tokens / (cap * EPOCHS):.0f} tokens an example")
    return "; ".join(details)


def seeds(subject: Subject) -> str:
    """The same seed gives the same weights, another seed others."""
    for case in subject.cases():
        first, again = _train(case, "seed"), _train(case, "same-seed")
        other = _unequal(first, again)
        if other:
            raise Broken(
                f"{case.label}two trainings with one seed differ in {len(other)} of {len(first)} parameters, the first "
                f"is {other[0]}",
                "Draw from torch's generator only, which is seeded before build and before every step: not from random "
                "or numpy, the clock, the order of a set, or what an earlier training left in a global.",
            )
        if not _unequal(first, _train(case, "other-seed", seed=1)):
            raise Broken(
                f"{case.label}trainings with seeds 0 and 1 give the same weights, although their examples come in "
                "another order",
                "Something throws the seed away: torch.manual_seed is the trainer's to call, and rows are to be used "
                "as collate gets them.",
            )
    return "bit for bit"


def _train(case: Case, folder: str, seed: int = 0) -> dict[str, Tensor]:
    """Train to the end and return what was trained."""
    trainer = case.trainer(folder, EXAMPLES, epochs=EPOCHS, seed=seed)
    trainer.train()
    return {name: p.detach().clone() for name, p in trainer.parameters.items()}


def _unequal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    )
