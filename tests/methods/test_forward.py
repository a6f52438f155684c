"""Passes: which rows go together, what a pass hands on, and what it charges."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.parts.backbone import load_model
from methods.parts.forward import SPREAD, TOKENS_PER_PASS, packed_groups, passes, run_body
from methods.parts.ledger import Ledger, charging
from methods.parts.readout import mean
from methods.parts.tokens import TokenRow
from tests.methods.backbones import Kind

CPU = torch.device("cpu")
Backbone = Callable[[Kind], Path]


def rows(*lengths: int) -> list[TokenRow]:
    return [
        TokenRow([3 + (7 * i + 11 * k) % 300 for i in range(n)], [i > 0 for i in range(n)])
        for k, n in enumerate(lengths)
    ]


@pytest.fixture(scope="module")
def bodies(backbone: Backbone) -> tuple[Any, Any]:
    """One body that takes packed rows, and the same that takes padded ones."""
    folder = backbone(Kind("qwen2"))
    one, other = (load_model(folder, device=CPU, causal=False, attention=name) for name in ("packed", "sdpa"))
    return one.requires_grad_(False), other.requires_grad_(False)


@pytest.mark.parametrize("budget", [1, 30, 64, 500, 10**9])
def test_packed_groups_keep_their_bounds_and_lose_no_row(budget: int) -> None:
    draw = random.Random(0)
    for shape in (range(1, 40), [7], [1, 2, 300]):
        lengths = draw.choices(shape, k=50)
        groups = packed_groups(lengths, budget)
        assert sorted(i for group in groups for i in group) == list(range(50))
        for group in groups:
            own = [lengths[i] for i in group]
            assert own == sorted(own, reverse=True)
            assert len(own) == 1 or sum(own) <= budget
            assert len(own) == 1 or len(own) * own[0] <= SPREAD * budget
        # No row would have had room in the group before its own.
        for before, group in itertools.pairwise(groups):
            own = [lengths[i] for i in [*before, group[0]]]
            assert sum(own) > budget or len(own) * own[0] > SPREAD * budget


def test_a_thousand_short_rows_are_not_padded_to_a_long_one() -> None:
    groups = packed_groups([1000, *[2] * 1000], 4000)
    assert [len(group) for group in groups] == [8, 993]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_packed_pass_hands_on_what_a_padded_one_does(bodies: tuple[Any, Any], side: str) -> None:
    ours, theirs = bodies
    some = rows(3, 20, 11, 2, 11)
    (got,), (wanted,) = (list(passes(body, some, max_tokens=100, padding_side=side)) for body in (ours, theirs))
    assert got.rows == wanted.rows
    assert got.hidden_BLD.shape == wanted.hidden_BLD.shape == (5, 20, 32)
    for name in ("ids_BL", "content_BL", "mask_BL", "positions_BL"):
        assert torch.equal(getattr(got.batch, name), getattr(wanted.batch, name))
    real_BL = wanted.batch.mask_BL
    assert real_BL is not None
    torch.testing.assert_close(got.hidden_BLD[real_BL.bool()], wanted.hidden_BLD[real_BL.bool()], rtol=1e-4, atol=1e-5)
    assert not got.hidden_BLD[~real_BL.bool()].any()


def test_rows_of_one_length_need_no_padding(bodies: tuple[Any, Any]) -> None:
    (got,), (wanted,) = (list(passes(body, rows(9, 9, 9))) for body in bodies)
    assert got.batch.mask_BL is None
    torch.testing.assert_close(got.hidden_BLD, wanted.hidden_BLD, rtol=1e-4, atol=1e-5)


def test_a_packed_body_is_charged_no_padding(bodies: tuple[Any, Any]) -> None:
    some = rows(3, 20, 11, 2, 11)
    ledgers = []
    for body in bodies:
        ledger = Ledger()
        with charging(ledger):
            run_body(body, some, mean, max_tokens=100)
        ledgers.append(ledger)
    ours, theirs = ledgers
    assert (ours.sequences, ours.real_tokens, ours.padded_tokens) == (5, 47, 47)
    assert (theirs.sequences, theirs.real_tokens, theirs.padded_tokens) == (5, 47, 100)
    assert ours.model_flops == theirs.model_flops > 0


def test_the_body_itself_sees_only_real_tokens_and_no_more_than_allowed(
    bodies: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = bodies
    some = rows(3, 20, 11, 2, 11)
    run_body(ours, some, mean)  # the FLOPs' shapes are found out once
    seen: list[tuple[int, ...]] = []
    hook = ours.layers[0].mlp.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    try:
        vectors = [run_body(ours, some, mean, max_tokens=tokens) for tokens in (1000, 25, 1)]
        monkeypatch.setitem(TOKENS_PER_PASS, "cpu", 25)
        vectors.append(run_body(ours, some, mean))
    finally:
        hook.remove()
    by_25 = [(1, 20, 32), (1, 24 + 1, 32), (1, 2, 32)]
    assert [shape[1] for shape in seen] == [47, 20, 25, 2, 20, 11, 11, 3, 2, 20, 25, 2]
    assert seen[1:4] == by_25
    for each in vectors[1:]:
        torch.testing.assert_close(each, vectors[0], rtol=1e-5, atol=1e-6)


def test_weights_learn_from_vectors_made_without_gradients_before(backbone: Backbone) -> None:
    """Nothing that was made in inference mode may be kept for a pass with gradients."""
    body: Any = load_model(backbone(Kind("qwen2")), device=CPU, attention="packed").train()
    with torch.inference_mode():
        run_body(body, rows(3, 5), mean)
    run_body(body, rows(3, 5), mean).square().sum().backward()
    assert all(weight.grad is not None for weight in body.parameters())
