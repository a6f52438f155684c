"""Builds everything a comparison shows from its records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from leaderboard.ablation import Choice
from leaderboard.comparable import Marks, mark_incomparable, refuse_incomparable
from leaderboard.csv_files import write_costs, write_differences, write_scores, write_wide
from leaderboard.figures import Figure, figures, is_figure
from leaderboard.files import write_atomically
from leaderboard.headline import headline
from leaderboard.latex import latex_tables
from leaderboard.markdown import markdown
from leaderboard.records import Record
from leaderboard.rows import build_rows
from leaderboard.statistics import Statistics

TABLES = ("table1.tex", "ablation.tex", "efficiency.tex")
"""Every file that ``latex_tables`` may give."""


@dataclass(frozen=True)
class Built:
    """What was written, and what it was written from: printing a table need not compute it again."""

    written: tuple[Path, ...]
    statistics: Statistics
    marks: Marks


def build(
    records: Iterable[Record],
    output: Path,
    *,
    mixed: bool = False,
    published: str = "matching",
    ablations: Choice | None = None,
    resamples: int = 10_000,
    say: Callable[[str], None] | None = None,
) -> Built:
    """Write the CSV files, ``leaderboard.md``, the LaTeX tables and every figure that the records support.

    What an earlier build left and these records do not support is removed: it would mislead.

    Args:
        records: Records in any order, as ``read_records`` returns them.
        output: The folder to write into; made if it is not there.
        mixed: Mark records that are not comparable with most of the others, instead of refusing.
        published: Which published scores stand below ours: "matching", "all" or "none".
        ablations: Full methods and their variants; found by their names where None.
        resamples: How often the pairs of each task are resampled.
        say: Told what takes long.

    Raises:
        Problem: records are not comparable, or their predictions are damaged; nothing was written.
    """
    records = list(records)
    marks = mark_incomparable(records) if mixed else Marks()
    if not mixed:
        refuse_incomparable(records)
    rows = build_rows(records, marks.signs)
    statistics = Statistics(rows, resamples=resamples, progress=say)
    drawn: list[Figure] = []
    if found := headline(rows):
        for at in range(len(rows)):
            statistics.interval(at, found[0])  # what is damaged is refused before anything is written
        if say:
            say("drawing the figures")
        drawn = figures(rows, statistics, found[0])
    page = markdown(
        records,
        statistics=statistics,
        marks=marks,
        figures=[(figure.title, figure.alt, f"{figure.name}.png") for figure in drawn],
        published=published,
        ablations=ablations,
    )
    tables = latex_tables(records, statistics=statistics, marks=marks, published=published, ablations=ablations)
    files = {name: content for figure in drawn for name, content in figure.files.items()}
    files |= {name: text.encode("utf-8") for name, text in tables.items()}
    if output.is_dir():
        stale = [it for it in output.iterdir() if it.name not in files and (is_figure(it.name) or it.name in TABLES)]
        for file in stale:
            file.unlink()
    written = [
        write_scores(records, output / "leaderboard.csv", statistics),
        write_wide(records, output / "leaderboard_wide.csv", statistics, marks),
        write_differences(records, output / "differences.csv", statistics, marks),
        write_costs(records, output / "costs.csv"),
        write_atomically(output / "leaderboard.md", page.encode("utf-8")),
        *(write_atomically(output / name, content) for name, content in files.items()),
    ]
    return Built(tuple(written), statistics, marks)
