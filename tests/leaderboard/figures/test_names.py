from __future__ import annotations

import random
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Sheet
from matplotlib.transforms import Bbox

from leaderboard.figures.ends import End, room, spread, write_ends
from leaderboard.figures.measure import renderer, wrapped
from leaderboard.figures.names import Name, beside_points
from leaderboard.figures.style import style


def _panel() -> tuple[Sheet, Axes]:
    sheet = Sheet(figsize=(3.4, 2.4), dpi=200)
    axes = sheet.add_axes((0.1, 0.1, 0.8, 0.8))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return sheet, axes


@pytest.mark.parametrize("seed", range(8))
def test_names_touch_neither_each_other_nor_a_point_nor_the_edge(seed: int) -> None:
    generator = random.Random(seed)
    points = [(generator.uniform(0.05, 0.95), generator.uniform(0.05, 0.95)) for _ in range(11)]
    with style():
        sheet, axes = _panel()
        names = [Name(f"method-{at}-{'x' * at}", (point,)) for at, point in enumerate(points)]
        written = beside_points(axes, names, points, [])
        assert written is not None
        assert [text.get_text() for text in written] == [name.text for name in names]
        boxes = [text.get_window_extent(renderer(sheet)) for text in written]
    frame = axes.get_window_extent(renderer(sheet))
    pixels = axes.transData.transform(points)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    reach = 3 * 200 / 72  # markers are about 6 points across
    assert not any(box.padded(reach).contains(*point) for box in boxes for point in pixels)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)


def test_a_lonely_name_stands_next_to_its_point_without_a_line() -> None:
    with style():
        sheet, axes = _panel()
        (text,) = beside_points(axes, [Name("alone", ((0.3, 0.5),))], [(0.3, 0.5)], []) or []
        box = text.get_window_extent(renderer(sheet))
    x, y = axes.transData.transform((0.3, 0.5))
    points = 200 / 72
    assert 3 * points < box.x0 - x < 8 * points
    assert box.y0 < y < box.y1
    assert not axes.lines


def test_a_name_keeps_off_a_line_if_it_can() -> None:
    with style():
        sheet, axes = _panel()
        line = [(0.3, 0.5), (1.0, 0.5)]
        (text,) = beside_points(axes, [Name("alone", ((0.3, 0.5),))], [(0.3, 0.5)], [line]) or []
        assert text.get_window_extent(renderer(sheet)).x1 < axes.transData.transform((0.3, 0.5))[0]


def test_a_name_is_nearest_to_its_own_point_unless_a_line_leads_there() -> None:
    points = [(0.5, 0.4 + at / 60) for at in range(6)]
    with style():
        sheet, axes = _panel()
        written = beside_points(axes, [Name(f"m-{at}", (point,)) for at, point in enumerate(points)], points, []) or []
        boxes = [text.get_window_extent(renderer(sheet)) for text in written]
    pixels = axes.transData.transform(points)
    ends = [axes.transData.transform(line.get_xydata()) for line in axes.lines]
    for at, box in enumerate(boxes):

        def gap(to: np.ndarray[Any, Any], box: Bbox = box) -> float:
            return float(np.hypot(*(np.clip(to, box.min, box.max) - to)))

        led = any(gap(end[1]) < 2 and np.hypot(*(end[0] - pixels[at])) < 12 for end in ends)
        assert led or min(range(6), key=lambda other: gap(pixels[other])) == at
    assert len(boxes) == 6
    assert ends


def test_without_room_for_all_nothing_is_written() -> None:
    with style():
        _, axes = _panel()
        names = [Name(f"a rather long name {at}", ((0.5, 0.5),)) for at in range(60)]
        assert beside_points(axes, names, [(0.5, 0.5)], []) is None
    assert not axes.texts
    assert not axes.lines


def test_a_name_of_a_level_line_stands_right_above_it() -> None:
    with style():
        sheet, axes = _panel()
        name = Name("outside", ((0.8, 0.5), (0.2, 0.5)), on_line=True)
        (text,) = beside_points(axes, [name], [], [[(0.0, 0.5), (1.0, 0.5)]]) or []
        gap = text.get_window_extent(renderer(sheet)).y0 - axes.transData.transform((0.8, 0.5))[1]
    assert 0 < gap < 3 * 200 / 72


@pytest.mark.parametrize("seed", range(20))
def test_a_column_keeps_order_and_moves_nothing_without_need(seed: int) -> None:
    generator = random.Random(seed)
    wanted = [generator.random() for _ in range(generator.randrange(1, 9))]
    sizes = [generator.choice((0.05, 0.1)) for _ in wanted]
    middles = spread(wanted, sizes, 0.0, 1.0)
    feet = sorted((middle - size / 2, middle + size / 2) for middle, size in zip(middles, sizes, strict=True))
    assert feet[0][0] >= -1e-9
    assert feet[-1][1] <= 1 + 1e-9
    assert all(low >= high - 1e-9 for (_, high), (low, _) in pairwise(feet))
    assert sorted(range(len(wanted)), key=wanted.__getitem__) == sorted(range(len(wanted)), key=middles.__getitem__)


def test_a_column_moves_two_that_collide_by_the_same_and_leaves_others() -> None:
    assert spread([0.5, 0.52, 0.9], [0.1, 0.1, 0.1], 0.0, 1.0) == pytest.approx([0.46, 0.56, 0.9])
    assert spread([0.0, 1.0], [0.1, 0.1], 0.0, 1.0) == pytest.approx([0.05, 0.95])
    # Room for exactly these: they must fill the column whatever they want.
    assert spread([0.9, 0.9, 0.9, 0.9], [0.25] * 4, 0.0, 1.0) == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_names_at_the_ends_of_lines_do_not_touch() -> None:
    texts = ["one", "two\nlines", "three", "four", "five"]
    with style():
        sheet, axes = _panel()
        axes.set_position((0.1, 0.1, 0.5, 0.8))
        write_ends(axes, [End(text, 0.5 + 0.01 * at, "black") for at, text in enumerate(texts)])
        margin, _ = room(sheet, texts)
        boxes = [text.get_window_extent(renderer(sheet)) for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    edge = axes.get_window_extent(renderer(sheet)).x1
    assert all(edge < box.x0 and box.x1 <= edge + margin * 200 + 1 for box in boxes)


def test_a_long_name_is_broken_before_its_settings() -> None:
    assert (
        wrapped("autoregembed (learning_rate=1e-05, epochs=3)", 34) == "autoregembed\n(learning_rate=1e-05, epochs=3)"
    )
    assert wrapped("short (a=1)", 24) == "short (a=1)"
    assert max(map(len, wrapped("a-name-without-settings-that-goes-on-and-on", 20).split("\n"))) <= 20
