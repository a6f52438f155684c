from __future__ import annotations

import pytest
import torch

from methods.parts.readout import READOUTS, last, marked, mean, normalised_mean, weighted_mean

HIDDEN = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[7.0, 8.0], [9.0, 10.0], [11.0, 12.0]]])
CONTENT = torch.tensor([[True, True, False], [False, True, True]])


def test_last_takes_the_last_content_token_on_either_padding_side() -> None:
    assert last(HIDDEN, CONTENT).tolist() == [[[3.0, 4.0]], [[11.0, 12.0]]]


def test_mean_runs_over_content_only_even_where_padding_is_not_a_number() -> None:
    hidden = HIDDEN.clone()
    hidden[0, 2] = float("nan")
    assert mean(hidden, CONTENT).tolist() == [[[2.0, 3.0]], [[10.0, 11.0]]]


def test_weighted_mean_counts_content_from_one_wherever_it_begins() -> None:
    """Of two tokens the first weighs a third, the second two; what is not read takes no place and no part."""
    hidden = HIDDEN.clone()
    hidden[0, 2], hidden[1, 0] = float("nan"), float("inf")
    found = weighted_mean(hidden, CONTENT)
    assert found.shape == (2, 1, 2)
    wanted = [[(1 + 2 * 3) / 3, (2 + 2 * 4) / 3], [(9 + 2 * 11) / 3, (10 + 2 * 12) / 3]]
    torch.testing.assert_close(found[:, 0], torch.tensor(wanted))
    # A token that is not read between two that are does not count as a place.
    gap = weighted_mean(HIDDEN, torch.tensor([[True, False, True], [True, True, True]]))
    torch.testing.assert_close(gap[0, 0], torch.tensor([(1 + 2 * 5) / 3, (2 + 2 * 6) / 3]))
    torch.testing.assert_close(gap[1, 0], torch.tensor([(7 + 2 * 9 + 3 * 11) / 6, (8 + 2 * 10 + 3 * 12) / 6]))
    assert READOUTS["weighted_mean"] is weighted_mean
    assert weighted_mean(HIDDEN.bfloat16(), CONTENT).dtype == torch.float32


def test_marked_keeps_k_vectors_in_order() -> None:
    assert marked(HIDDEN, CONTENT).tolist() == [[[1.0, 2.0], [3.0, 4.0]], [[9.0, 10.0], [11.0, 12.0]]]
    with pytest.raises(ValueError, match="same number of positions"):
        marked(HIDDEN, torch.tensor([[True, True, False], [False, False, True]]))


@pytest.mark.parametrize("readout", [last, mean, weighted_mean])
def test_a_row_without_content_is_an_error(readout: object) -> None:
    assert callable(readout)
    with pytest.raises(ValueError, match=r"rows \[1\] have no content"):
        readout(HIDDEN, torch.tensor([[True, False, False], [False, False, False]]))


def test_pooling_is_the_mean_on_the_unit_sphere() -> None:
    pooled = normalised_mean(torch.tensor([[[6.0, 0.0], [0.0, 8.0]]]))
    assert pooled.tolist() == [pytest.approx([0.6, 0.8])]
