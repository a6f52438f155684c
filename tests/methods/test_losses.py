from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods.parts.losses import info_nce


def _unit(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def test_two_queries_by_hand() -> None:
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    documents = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [0.8, 0.6]]])
    present = torch.ones(2, 2, dtype=torch.bool)
    own = info_nce(query, documents, present, temperature=0.5, in_batch=False)
    # cosines 1 and 0; 0.8 and 0.6; over 0.5
    expected = math.log(1 + math.exp(-2)) + math.log(1 + math.exp((0.6 - 0.8) / 0.5))
    assert own.sum.item() == pytest.approx(expected, rel=1e-6)
    assert own.weight == 2
    batch = info_nce(query, documents, present, temperature=0.5, in_batch=True)
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(0) + math.exp(1.2) + math.exp(1.6)))
    second = -math.log(math.exp(1.6) / (math.exp(0) + math.exp(2) + math.exp(1.6) + math.exp(1.2)))
    assert batch.sum.item() == pytest.approx(first + second, rel=1e-6)


def test_an_absent_negative_is_nobodys_candidate() -> None:
    query, documents = _unit(3, 8, seed=0), _unit(3, 3, 8, seed=1)
    present = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    noise = documents.clone()
    noise[0, 2], noise[2, 1], noise[2, 2] = 5.0, -3.0, 7.0
    for in_batch in (False, True):
        clean = info_nce(query, documents, present, temperature=0.1, in_batch=in_batch)
        dirty = info_nce(query, noise, present, temperature=0.1, in_batch=in_batch)
        assert clean.sum.item() == dirty.sum.item()


def test_equals_the_loss_of_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    query, documents = _unit(6, 16, seed=2), _unit(6, 3, 16, seed=3)
    theirs = MultipleNegativesRankingLoss(model=torch.nn.Identity(), scale=50.0)  # type: ignore[arg-type]
    expected = theirs.compute_loss_from_embeddings([query, *documents.unbind(1)], None)  # type: ignore[arg-type]
    ours = info_nce(query, documents, torch.ones(6, 3, dtype=torch.bool), temperature=0.02, in_batch=True)
    assert (ours.sum / ours.weight).item() == pytest.approx(expected.item(), rel=1e-5)
