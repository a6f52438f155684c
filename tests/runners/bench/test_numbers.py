"""The parts of a bench that are arithmetic: turns, ratios, exponents, rows of an exact length."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import linregress
from torch import nn, ones
from transformers import AutoTokenizer

from genembench.problem import Problem
from methods.registry import discover
from methods.untrained import ONE_WORD
from runners.bench.fit import exponent
from runners.bench.products import Shapes
from runners.bench.random_llama import SIZES, shape_of
from runners.bench.rows import exact_rows
from runners.bench.turns import range_in_words, ratios, summary, turns


def test_everybody_begins_once() -> None:
    found = list(turns(["a", "b", "c"], 3))
    assert [name for _, name in found] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert [repetition for repetition, _ in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_ratios_are_of_the_same_repetition() -> None:
    # Each was twice as slow in the second repetition; the ratio was 3 throughout.
    assert ratios([3.0, 6.0], [1.0, 2.0]) == [3.0, 3.0]
    assert range_in_words(summary([3.0, 1.0, 2.5]), 1) == "2.5 (1.0 to 3.0)"


def test_the_exponent_of_a_power_law_and_its_error() -> None:
    sizes = [1.0, 2.0, 4.0, 8.0]
    exact = exponent(sizes, [5 * size**1.5 for size in sizes])
    assert exact is not None
    assert exact.exponent == pytest.approx(1.5)
    assert exact.standard_error == pytest.approx(0, abs=1e-12)
    costs = [1.0, 2.1, 3.7, 9.0]
    known = linregress([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    found = exponent(sizes, costs)
    assert found is not None
    assert found.exponent == pytest.approx(known.slope)
    assert found.standard_error == pytest.approx(known.stderr)
    assert exponent([4.0, 4.0], [1.0, 2.0]) is None
    assert exponent([1.0, 2.0], [1.0, 0.0]) is None


def test_rows_have_exactly_so_many_tokens(tiny_backbone: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    method = discover().get("infonce-inbatch-mean").create("small")
    shortest = len(tokenizer("" + ONE_WORD)["input_ids"]) + 1
    for length in (shortest + 8, shortest + 40):
        ids, rows = exact_rows(method, "triplets", tokenizer, length, 6)
        assert len(set(ids)) == len(rows) == 6
        texts = [text for row in rows for text in (row["query"], row["positive"], *row["negative"])]
        assert len(set(texts)) == 18
        assert {len(tokenizer(text + ONE_WORD)["input_ids"]) for text in texts} == {length}
    with pytest.raises(Problem, match="no room"):
        exact_rows(method, "triplets", tokenizer, 4, 1)
    with pytest.raises(Problem, match="Its max_length is the longest"):
        exact_rows(method, "triplets", tokenizer, 600, 1)


@pytest.mark.parametrize(("name", "millions"), [("5m", 5), ("25m", 25), ("100m", 100), ("1b", 1000)])
def test_a_size_is_what_it_is_called(name: str, millions: float) -> None:
    shape = shape_of(f"random:{name}")
    attention = 4 * shape.hidden**2
    weights = shape.layers * (attention + 3 * shape.hidden * shape.intermediate)
    assert set(SIZES) == {"5m", "25m", "100m", "1b"}
    assert weights / 1e6 == pytest.approx(millions, rel=0.08)
    assert shape.key_value_heads == shape.heads


def test_a_size_nobody_knows() -> None:
    assert (shape_of("random:96x3").hidden, shape_of("random:96x3").layers) == (96, 3)
    with pytest.raises(Problem, match="no such size") as caught:
        shape_of("random:7t")
    assert "random:25m" in caught.value.hint


def test_shapes_of_linear_layers() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    shapes = Shapes()
    with shapes.watching(model):
        for rows in (10, 10, 30):
            model(ones(5, rows // 5, 6))
        model(ones(1, 2, 6))  # so small is only the pass that counts FLOPs
    model(ones(50, 6))
    assert shapes.calls == Counter({(10, 6, 4): 2, (10, 4, 3): 2, (30, 6, 4): 1, (30, 4, 3): 1})
    assert shapes.typical() == {(10, 6, 4): 3, (10, 4, 3): 3}
