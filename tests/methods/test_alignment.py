from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.parts.alignment import alignment_loss, divergence_scores, likelihood_scores
from tests.reference import autoregembed as plain


def numbers(batch: int = 5, negatives: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of documents given queries ``[B, G]``, of positives given themselves, and a reference's."""
    generator = torch.Generator().manual_seed(seed)
    query_BG = -80 + 8 * torch.randn(batch, 1 + negatives, generator=generator)
    self_B = -80 + 8 * torch.randn(batch, generator=generator)
    reference_BG = -80 + 8 * torch.randn(batch, 1 + negatives, generator=generator)
    return query_BG, self_B, reference_BG


def loss(query_BG: Tensor, self_B: Tensor, reference_BG: Tensor, temperature: float, **how: Any) -> Tensor:
    s1_B, s2_Bn = likelihood_scores(query_BG, self_B, reference_BG, **how)
    return alignment_loss(s1_B, s2_Bn, torch.ones_like(s2_Bn, dtype=torch.bool), temperature)


@pytest.mark.parametrize("negatives", [1, 2, 5])
@pytest.mark.parametrize("kind", ["sigmoid", "log_sigmoid"])
@pytest.mark.parametrize("sign", ["paper", "released"])
def test_the_loss_is_the_printed_formula(sign: plain.Sign, kind: plain.Kind, negatives: int) -> None:
    query_BG, self_B, reference_BG = numbers(negatives=negatives)
    got = loss(query_BG, self_B, reference_BG, 0.1, beta=0.1, sign=sign, log=kind == "log_sigmoid")
    wanted = plain.alignment_loss_by_hand(
        query_BG[:, 0].tolist(),
        self_B.tolist(),
        query_BG[:, 1:].tolist(),
        reference_BG.tolist(),
        beta=0.1,
        temperature=0.1,
        sign=sign,
        kind=kind,
    )
    assert got.shape == (5,)
    assert got.mean().item() == pytest.approx(wanted, rel=1e-5)


def test_one_example_worked_out_by_hand() -> None:
    """d = 4, so S1 = -σ(0.4); h = (-10 + 12) - (-20 + 17) = 5, so S2 = -σ(0.5); τ = 0.5."""
    s1_B, s2_Bn = likelihood_scores(
        torch.tensor([[-10.0, -20.0]]), torch.tensor([-14.0]), torch.tensor([[-12.0, -17.0]]), beta=0.1
    )
    assert s1_B.tolist() == pytest.approx([-0.5986877])
    assert s2_Bn.tolist() == [pytest.approx([-0.6224593])]
    got = alignment_loss(s1_B, s2_Bn, torch.tensor([[True]]), 0.5)
    assert got.tolist() == pytest.approx([math.log(1 + math.exp((0.5986877 - 0.6224593) / 0.5))])


def test_at_the_reference_every_negative_scores_exactly_half() -> None:
    query_BG, self_B, _ = numbers(batch=200)
    _, s2_Bn = likelihood_scores(query_BG, self_B, query_BG.clone(), beta=0.1)
    assert (s2_Bn == -0.5).all()
    assert (loss(query_BG[:, :2], self_B, query_BG[:, :2], 0.1, beta=0.1) >= math.log(2)).all()


def test_at_the_reference_with_nothing_to_close_the_loss_is_log_2() -> None:
    query_BG, _, _ = numbers(negatives=1)
    got = loss(query_BG, query_BG[:, 0], query_BG, 0.1, beta=0.1)
    torch.testing.assert_close(got, torch.full_like(got, math.log(2)))


def test_the_released_sign_counts_the_reference_twice() -> None:
    query_BG, self_B, _ = numbers()
    _, s2_Bn = likelihood_scores(query_BG, self_B, query_BG, beta=0.1, sign="released")
    wanted = [
        [-1 / (1 + math.exp(-2 * 0.1 * (positive - negative))) for negative in negatives]
        for positive, *negatives in query_BG.tolist()
    ]
    torch.testing.assert_close(s2_Bn, torch.tensor(wanted))


def test_the_scores_stay_in_their_ranges() -> None:
    source = random.Random(0)
    query_BG = torch.tensor([[source.uniform(-150, 0) for _ in range(2)] for _ in range(500)])
    self_B = torch.tensor([source.uniform(-150, 0) for _ in range(500)])
    # Both differences stay within 150, where float32 still tells σ(0.1 x) from 1.
    s1_B, s2_Bn = likelihood_scores(query_BG, self_B, torch.zeros(500, 2), beta=0.1)
    assert (s1_B > -1).all()
    assert (s1_B <= -0.5).all()
    assert (s2_Bn > -1).all()
    assert (s2_Bn < 0).all()
    log1_B, log2_Bn = likelihood_scores(query_BG, self_B, torch.zeros(500, 2), beta=0.1, log=True)
    assert (log1_B > 0).all()
    assert (log1_B <= math.log(2) + 1e-6).all()
    assert (log2_Bn > 0).all()


def test_the_smallest_loss() -> None:
    """Nothing to close (S1 = -½) and the negative as far off as it can be (S2 = -1): log(1 + e^{-½/τ})."""
    smallest = math.log(1 + math.exp(-5))
    far = torch.tensor([[-10.0, -1000.0]])
    got = loss(far, torch.tensor([-10.0]), torch.zeros(1, 2), 0.1, beta=0.1)
    assert got.item() == pytest.approx(smallest, rel=1e-4)
    for seed in range(5):
        query_BG, self_B, reference_BG = numbers(batch=200, negatives=1, seed=seed)
        assert (loss(query_BG, self_B, reference_BG, 0.1, beta=0.1) > smallest).all()


@pytest.mark.parametrize("negatives", [2, 4])
def test_negatives_share_one_denominator(negatives: int) -> None:
    query_BG, self_B, reference_BG = numbers(negatives=negatives)
    together = loss(query_BG, self_B, reference_BG, 0.1, beta=0.1)
    alone = [loss(query_BG[:, [0, i]], self_B, reference_BG[:, [0, i]], 0.1, beta=0.1) for i in range(1, 1 + negatives)]
    # With x_i = e^{S2_i/τ} / e^{S1/τ}: the two-way losses are log(1 + x_i), the loss is log(1 + Σ x_i).
    shares = [math.e**one - 1 for one in alone]
    torch.testing.assert_close(together, torch.log1p(torch.stack(shares).sum(0)))
    assert (together - torch.stack(alone).mean(0) > 0.1).all()


def test_absent_negatives_are_no_candidates() -> None:
    query_BG, self_B, reference_BG = numbers(negatives=3)
    s1_B, s2_Bn = likelihood_scores(query_BG, self_B, reference_BG, beta=0.1)
    present_Bn = torch.tensor([[True, True, False]]).expand(5, 3)
    s2_Bn = s2_Bn.detach().requires_grad_()
    got = alignment_loss(s1_B, s2_Bn, present_Bn, 0.1)
    torch.testing.assert_close(got, loss(query_BG[:, :3], self_B, reference_BG[:, :3], 0.1, beta=0.1))
    got.sum().backward()
    assert s2_Bn.grad is not None
    assert s2_Bn.grad.isfinite().all()
    assert (s2_Bn.grad[:, 2] == 0).all()


def test_gradients_reach_both_terms_of_both_differences() -> None:
    query_BG, self_B, reference_BG = numbers(negatives=2)
    ours = [t.clone().requires_grad_() for t in (query_BG, self_B)]
    loss(ours[0], ours[1], reference_BG, 0.1, beta=0.1).mean().backward()
    theirs = [t.clone().requires_grad_() for t in (query_BG, self_B)]
    plain.alignment_loss(
        theirs[0][:, 0], theirs[1], theirs[0][:, 1:], reference_BG, beta=0.1, temperature=0.1
    ).backward()
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert (one.grad != 0).all()
        torch.testing.assert_close(one.grad, other.grad)


def test_divergence_scores() -> None:
    s1_B, s2_Bn = divergence_scores(torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 40.0]]))
    assert s1_B.tolist() == pytest.approx([-0.5, -0.9525741])
    assert s2_Bn.flatten().tolist() == pytest.approx([-0.7310586, -0.8807971, -0.5, -1.0])
