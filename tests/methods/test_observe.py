from __future__ import annotations

import pytest
import torch

from methods.parts.observe import Observations, observe, observing


def test_means_are_over_values_and_not_over_calls() -> None:
    seen = Observations()
    with observing(seen):
        observe("S1", torch.tensor([1.0, 2.0, 3.0]))
        observe("logp", torch.tensor([[10.0, 20.0]]))
        observe("S1", torch.tensor(5.0))
    assert seen.means() == {"S1": 11 / 4, "logp": 15.0}


def test_what_was_never_there_has_no_mean() -> None:
    seen = Observations()
    with observing(seen):
        # No triplet of this micro-batch has a negative, say.
        observe("S2", torch.zeros(0, 3))
    assert seen.means() == {}
    with observing(seen):
        observe("S2", torch.tensor([4.0]))
    assert seen.means() == {"S2": 4.0}


def test_only_the_innermost_looks_and_none_looks_nowhere() -> None:
    outer, inner = Observations(), Observations()
    observe("a", torch.tensor(1.0))
    with observing(outer):
        with observing(None):
            observe("a", torch.tensor(2.0))
        with observing(inner):
            observe("a", torch.tensor(3.0))
        observe("a", torch.tensor(4.0))
    observe("a", torch.tensor(5.0))
    assert outer.means() == {"a": 4.0}
    assert inner.means() == {"a": 3.0}


def test_an_error_inside_ends_the_looking() -> None:
    seen = Observations()
    with pytest.raises(KeyError), observing(seen):
        raise KeyError("x")
    observe("a", torch.tensor(1.0))
    assert seen.means() == {}


def test_looking_holds_no_graph_and_changes_no_gradient() -> None:
    weight = torch.tensor([2.0, 3.0], requires_grad=True)
    seen = Observations()
    with observing(seen):
        value = weight.square()
        observe("square", value)
    value.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0, 6.0]
    assert all(not total.requires_grad for total, _ in seen._sums.values())
    assert seen.means() == {"square": 6.5}


def test_half_precision_is_added_up_in_full() -> None:
    seen = Observations()
    for value in (256.0, 1.0):
        seen.add("a", torch.tensor(value, dtype=torch.bfloat16))
    # In bfloat16, 256 + 1 is 256.
    assert seen.means() == {"a": 128.5}
