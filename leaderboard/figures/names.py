"""Names written beside their points, where they hit neither a marker nor each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from leaderboard.figures.boxes import Box, Spot, along, around, box_beside, gap, nearest, touch, wider, within
from leaderboard.figures.measure import renderer
from leaderboard.figures.style import INK, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

# Points from a marker's middle to its name; beyond the first, a thin line leads there.
DISTANCES = (5.5, 11.0, 18.0, 26.0, 36.0, 48.0)
CLOSE = 1.5  # points from a line to its name
ANGLES = (0, 180, 90, 270, 40, 140, 220, 320, 20, 160, 200, 340, 65, 115, 245, 295)
HALO = 1.6
NEARER = 0.3  # how much nearer to its own point than to any other a name stands, in points
MARKER = 3.2  # how far a marker reaches from its middle, in points
CROSSING = 3.0  # how many points farther away a name had better be than to cover 3 points of a line


@dataclass(frozen=True)
class Name:
    """A name to place.

    Attributes:
        text: The name.
        spots: Points, any one of which it may stand beside, or points on its line (data coordinates).
        on_line: Whether it belongs to a level line, above or below which it must stand.
    """

    text: str
    spots: tuple[Spot, ...]
    on_line: bool = False


@dataclass(frozen=True)
class _Place:
    """Where a name would stand: its box, the spot it belongs to, and how bad that is (0 is best)."""

    box: Box
    spot: Spot
    far: bool
    badness: float


def beside_points(
    axes: Axes, names: Sequence[Name], markers: Sequence[Spot], lines: Sequence[Sequence[Spot]]
) -> list[Text] | None:
    """Write every name beside its point, or none at all.

    Args:
        axes: A panel with its final place, size and limits.
        names: What to write.
        markers: Points (data coordinates) that no name may touch.
        lines: Lines (data coordinates) that names had better not cross.

    Returns:
        The texts; None, with nothing drawn, where they do not all fit without touching a marker or each other.
    """
    sheet = axes.get_figure(root=True)
    assert sheet is not None
    drawing, scale = renderer(sheet), sheet.dpi / 72

    def pixels(spot: Spot) -> Spot:
        x, y = axes.transData.transform(spot)
        return float(x), float(y)

    points = [pixels(spot) for spot in markers]
    dots = [dot for line in lines for dot in along([pixels(spot) for spot in line], 3 * scale)]
    frame = axes.get_window_extent(drawing)
    inside = (frame.x0 + scale, frame.y0 + 2 * scale, frame.x1 - scale, frame.y1)
    offers = []
    for name in names:
        boxes = _boxes(_size(axes, name.text, drawing), list(map(pixels, name.spots)), name.on_line, scale)
        own = set(map(pixels, name.spots))
        strangers = [] if name.on_line else [point for point in points if point not in own]
        places = [it for it in boxes if within(it.box, inside) and _belongs(it, strangers, scale)]
        offers.append(_offers(places, [around(point, MARKER * scale) for point in points], dots, scale))
    chosen = _choose(offers)
    if chosen is None:
        return None
    return [_write(axes, name.text, place, scale) for name, place in zip(names, chosen, strict=True)]


def _size(axes: Axes, text: str, drawing: Any) -> Spot:
    """Return width and height of a name in pixels."""
    written = axes.text(0, 0, text, fontsize=SMALL)
    box = written.get_window_extent(drawing)
    written.remove()
    return box.width, box.height


def _boxes(size: Spot, spots: Sequence[Spot], on_line: bool, scale: float) -> list[_Place]:
    """Return every place round the spots; the farther and the less usual, the worse."""
    distances, angles = ((CLOSE,), (90, 270)) if on_line else (DISTANCES, ANGLES)
    return [
        _Place(
            box_beside(spot, size, distance * scale, math.radians(angle)),
            spot,
            distance > distances[0],
            distance + 0.3 * turn,
        )
        for spot in spots
        for distance in distances
        for turn, angle in enumerate(angles)
    ]


def _belongs(place: _Place, strangers: Sequence[Spot], scale: float) -> bool:
    """Whether a reader would take a name for that of its own point: no other is as near, unless a line leads there."""
    return place.far or all(gap(place.box, other) > gap(place.box, place.spot) + NEARER * scale for other in strangers)


def _offers(places: Sequence[_Place], taken: Sequence[Box], dots: Sequence[Spot], scale: float) -> list[_Place]:
    """Return the places where a name could stand if it were alone, best first.

    Args:
        places: Where it might.
        taken: Boxes that it must not touch.
        dots: Points of lines that it had better not touch.
        scale: Pixels to the point.
    """
    found = []
    for place in places:
        if any(touch(place.box, other) for other in taken):
            continue
        crossed = sum(touch(place.box, (*dot, *dot)) for dot in dots)
        own = around(place.spot, MARKER * scale)
        lead = along([place.spot, nearest(place.box, place.spot)], 2 * scale) if place.far else []
        hits = sum(touch((*dot, *dot), other) for dot in lead for other in taken if other != own)
        found.append(replace(place, badness=place.badness + CROSSING * crossed + 12 * hits))
    return sorted(found, key=lambda place: place.badness)


def _choose(offers: Sequence[Sequence[_Place]]) -> list[_Place] | None:
    """Choose one place for each name so that no two touch; the best of a few orders of choosing."""
    everyone = range(len(offers))
    orders: list[Callable[[int], Any]] = [
        lambda at: len(offers[at]),  # whoever has the least choice first
        lambda at: -(offers[at][0].spot[1] if offers[at] else 0),
        lambda at: offers[at][0].spot[1] if offers[at] else 0,
        lambda at: -(offers[at][0].badness if offers[at] else 0),
    ]
    best: list[_Place] | None = None
    for order in orders:
        made: dict[int, _Place] = {}
        for at in sorted(everyone, key=order):
            place = next((it for it in offers[at] if not any(_clash(it, other) for other in made.values())), None)
            if place is None:
                break
            made[at] = place
        else:
            chosen = [made[at] for at in everyone]
            if best is None or _badness(chosen) < _badness(best):
                best = chosen
    return best


def _badness(places: Sequence[_Place]) -> float:
    return sum(place.badness for place in places)


def _clash(one: _Place, other: _Place) -> bool:
    """Whether two names, or a name and the line that leads to the other, would touch."""
    if touch(wider(one.box), wider(other.box)):
        return True
    for mine, its in ((one, other), (other, one)):
        if mine.far and any(
            touch((*dot, *dot), its.box) for dot in along([mine.spot, nearest(mine.box, mine.spot)], 3)
        ):
            return True
    return False


def _write(axes: Axes, text: str, place: _Place, scale: float) -> Text:
    """Write a name into its place, with a thin line to its point where that is not next to it."""
    from matplotlib.patheffects import Stroke

    left, bottom, right, top = place.box
    to_data = axes.transData.inverted()
    if place.far:
        end, spot = nearest(place.box, place.spot), place.spot
        whole = math.dist(end, spot)
        start = [spot[at] + (end[at] - spot[at]) * min(1.0, 3.5 * scale / whole) for at in (0, 1)] if whole else spot
        xs, ys = zip(*to_data.transform([start, end]), strict=True)
        axes.plot(xs, ys, color="0.5", linewidth=0.5, zorder=2.5, solid_capstyle="butt")
    x, y = to_data.transform(((left + right) / 2, (bottom + top) / 2))
    style: dict[str, Any] = {"fontsize": SMALL, "ha": "center", "va": "center", "linespacing": 1.05}
    # Effects turn type into outlines, so the halo is a text of its own and the name stays one that can be searched.
    halo = axes.text(x, y, text, color="white", zorder=4.9, **style)
    halo.set_gid("halo")
    halo.set_path_effects([Stroke(linewidth=HALO, foreground="white")])
    written = axes.text(x, y, text, color=INK, zorder=5, **style)
    written.set_gid("name")
    return written
