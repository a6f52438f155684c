from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.inference import Pace, probe, probe_texts
from benchmarks.protocol import Role


class Paced:
    """Takes the seconds that it is told, pass by pass, on a clock of its own."""

    name, address, precision = "paced", "0", "float32"

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.now = 100.0
        self.seen: list[list[str]] = []

    def clock(self) -> float:
        return self.now

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        assert role == "symmetric"
        self.seen.append(list(texts))
        self.now += self.seconds[min(len(self.seen), len(self.seconds)) - 1]
        return np.zeros((len(texts), 7), dtype=np.float32)


def pace(encoder: Paced, count: int = 10) -> Pace:
    return probe(encoder, [f"text {number}" for number in range(count)], clock=encoder.clock)


def test_the_first_pass_warms_up_and_the_median_of_the_others_counts() -> None:
    encoder = Paced(0.25, 0.125, 0.0625, 0.0625, 0.5, 0.125)
    found = pace(encoder)
    assert found == Pace(texts=10, passes=(0.125, 0.0625, 0.0625, 0.5, 0.125), dimensions=7)
    # The median of the five is 0.125 seconds, whatever the warm-up and the one slow pass took.
    assert found.sentences_per_second == 80.0
    assert encoder.seen == [[f"text {number}" for number in range(10)]] * 6


@pytest.mark.parametrize(
    ("seconds", "passes"),
    [
        ([0.01], 5),  # fast
        ([0.6], 3),  # after four passes 2.4 seconds are used: three timed ones do
        ([6.0], 2),  # the fourth would end at 24 seconds
        ([9.0], 1),  # the third would end at 27
        ([11.0], 1),  # a second pass would end at 22: the first one is all there is
        ([90.0], 1),
        ([3.0, 16.0], 1),  # it took longer than the first let expect, and is not made twice
    ],
)
def test_a_slow_encoder_is_timed_less_often(seconds: list[float], passes: int) -> None:
    assert len(pace(Paced(*seconds)).passes) == passes


def test_an_encoder_too_slow_for_a_second_pass_is_measured_by_its_first() -> None:
    encoder = Paced(40.0)
    assert pace(encoder).passes == (40.0,)
    assert len(encoder.seen) == 1
    assert pace(Paced(40.0)).sentences_per_second == 0.25


def test_what_is_counted_is_one_pass() -> None:
    encoder = Paced(0.25)
    inside: list[int] = []

    @contextmanager
    def counting() -> Iterator[None]:
        inside.append(len(encoder.seen))
        yield
        inside.append(len(encoder.seen))

    probe(encoder, ["a", "b"], counting=counting(), clock=encoder.clock)
    assert inside == [0, 1]
    assert len(encoder.seen) == 6


def brute(texts: Sequence[str], count: int) -> list[str]:
    by_hash: Callable[[str], bytes] = lambda text: hashlib.sha256(text.encode()).digest()  # noqa: E731
    return sorted({text for text in texts if text.strip()}, key=by_hash)[:count]


def test_the_texts_are_the_first_by_hash_whatever_their_order_and_number() -> None:
    texts = [f"sentence number {number}" for number in range(5000)]
    expected = brute(texts, 20)
    assert probe_texts(texts, 20) == expected
    # Repeats, blanks and the order in which they come change nothing; neither does the number of passes of the sieve.
    assert probe_texts([*reversed(texts), *texts[::3], "", "  "], 20) == expected
    assert len(set(expected)) == 20


def test_of_few_texts_all_are_taken() -> None:
    assert probe_texts(["b", "a", "b", "\n"], 512) == brute(["a", "b"], 512)
