from __future__ import annotations

import time

import torch

from runners.meter import Costs, Stopwatch, peak_memory, reset_peak_memory, total

CPU = torch.device("cpu")


def test_stages_add_up_and_unique_examples_of_one_kind_count_once() -> None:
    first = Costs({"triplets": 100}, {"triplets": 200}, 10, 12, 3, 1e9, 1.5, 700)
    second = Costs({"triplets": 80, "text": 5}, {"triplets": 80, "text": 5}, 1, 2, 1, 1e8, 0.5, 900)
    assert total([first, second]) == Costs(
        {"triplets": 100, "text": 5}, {"triplets": 280, "text": 5}, 11, 14, 4, 1.1e9, 2.0, 900
    )
    assert total([]) == Costs()
    assert Costs.from_json(first.to_json()) == first


def test_the_stopwatch_counts_only_what_runs_inside() -> None:
    watch = Stopwatch(CPU)
    with watch.running():
        time.sleep(0.05)
    time.sleep(0.2)
    with watch.running():
        time.sleep(0.05)
    assert 0.1 <= watch.seconds < 0.2


def test_peak_memory_sees_an_allocation_that_is_gone_again() -> None:
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    block = torch.ones(50_000_000)
    del block
    assert peak_memory(CPU) - before > 150_000_000
    reset_peak_memory(CPU)
    assert peak_memory(CPU) - before < 100_000_000
