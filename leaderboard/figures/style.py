"""What all figures share: type, colours, markers, ink on colour, and files that are the same to the byte."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leaderboard.rows import TRAINING_FREE, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Sheet

# Okabe and Ito's colours, which readers with any colour vision tell apart; without yellow (invisible on white) and
# black (the front's). What trains nothing is what the others start from, and grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREYS = ("#4D4D4D", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
SIZES = {"P": 6.5, "X": 6.5, "D": 4.5}
INK = "0.15"
QUIET = "0.42"  # the palest grey that still reads as text on white: 5.6 to 1
SMALL = 7.0  # points; the smallest type there is, for a picture that is printed at its own size
COLUMN, PAGE = 3.4, 7.0  # inches: one and two columns of a paper
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 200,
    "figure.dpi": 200,
    "text.parse_math": False,  # a "$" in a method's settings is a dollar
    "pdf.fonttype": 42,  # TrueType: what publishers ask for, and text that can be searched
}
# Neither time nor version goes into the files: the same records must give the same bytes.
METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn, the same in every figure: a colour of its own in a family's marker."""

    colour: str
    marker: str

    @property
    def size(self) -> float:
        """Points; markers of one size in points do not look equally large."""
        return SIZES.get(self.marker, 5.0)


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this: our settings over matplotlib's own, whatever the user's are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = STYLE  # matplotlib's own annotation lists every name there is
        matplotlib.rcParams.update(settings)
        yield


def files(name: str, sheet: Sheet) -> dict[str, bytes]:
    """Return the files of a figure by their names, ``NAME.png`` and ``NAME.pdf``."""
    made = {}
    for kind, metadata in METADATA.items():
        content = io.BytesIO()
        sheet.savefig(content, format=kind, metadata=metadata)
        made[f"{name}.{kind}"] = content.getvalue()
    return made


def looks(rows: Iterable[Row]) -> dict[str, Look]:
    """Give every label of a table its look: a family has a marker, and no two labels the same pair.

    Colours go round in table order, so that neighbours differ; a family with more methods than colours goes on with
    another marker. Beyond all pairs they repeat.
    """
    families: dict[str, dict[str, None]] = {}
    for row in rows:
        families.setdefault(row.family, {})[row.label] = None
    markers = {family: [MARKERS[at % len(MARKERS)]] for at, family in enumerate(families)}
    spare = list(MARKERS[len(families) :])
    found: dict[str, Look] = {}
    turn = 0
    for family, labels in families.items():
        colours = GREYS if family == TRAINING_FREE else COLOURS
        for label in labels:
            look = _free(markers[family], colours, turn, found)
            if look is None and spare:
                markers[family].append(spare.pop(0))
                look = _free(markers[family], colours, turn, found)
            found[label] = look or Look(colours[turn % len(colours)], MARKERS[turn % len(MARKERS)])
            turn = colours.index(found[label].colour) + 1
        turn = 0 if family == TRAINING_FREE else turn
    return found


def _free(markers: Sequence[str], colours: Sequence[str], turn: int, taken: Mapping[str, Look]) -> Look | None:
    """Return the first look, from a turn of the colours on, that nobody has; None where all are taken."""
    for marker in markers:
        for at in range(len(colours)):
            look = Look(colours[(turn + at) % len(colours)], marker)
            if look not in taken.values():
                return look
    return None


def ink(background: Sequence[float]) -> str:
    """Return the colour of type, black or white, that contrasts more with a colour (never less than 4.5 to 1)."""
    return "black" if contrast(background, (0.0, 0.0, 0.0)) >= contrast(background, (1.0, 1.0, 1.0)) else "white"


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the contrast ratio of two colours, 1 to 21, as WCAG 2 defines it.

    Args:
        one: Red, green and blue from 0 to 1; anything after them is ignored.
        other: The same.
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance of a colour (WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
