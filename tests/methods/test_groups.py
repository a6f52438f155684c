from __future__ import annotations

import pytest
import torch

from methods.parts.groups import padded, present

CPU = torch.device("cpu")


def test_each_query_has_its_first_documents() -> None:
    assert present([1, 3, 0, 2], 3, CPU).tolist() == [
        [True, False, False],
        [True, True, True],
        [False, False, False],
        [True, True, False],
    ]


def test_flat_values_are_laid_out_query_after_query() -> None:
    present_BG = present([2, 1, 3], 3, CPU)
    flat = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert padded(flat, present_BG).tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 6]]


def test_vectors_are_laid_out_too() -> None:
    flat = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert padded(flat, present([1, 2], 2, CPU)).tolist() == [[[1, 2], [0, 0]], [[3, 4], [5, 6]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_the_kind_of_number_stays(dtype: torch.dtype) -> None:
    assert padded(torch.tensor([7, 8], dtype=dtype), present([2], 3, CPU)).dtype == dtype


def test_gradients_find_their_way_back() -> None:
    flat = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    weights = torch.tensor([[10.0, 100.0], [1000.0, 5.0]])
    (padded(flat, present([2, 1], 2, CPU)) * weights).sum().backward()
    assert flat.grad is not None
    assert flat.grad.tolist() == [10.0, 100.0, 1000.0]
