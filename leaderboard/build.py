"""Builds everything a comparison shows from its records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from leaderboard.comparable import refuse_incomparable
from leaderboard.csv_files import write_costs, write_scores
from leaderboard.files import write_atomically
from leaderboard.markdown import markdown
from leaderboard.records import Record
from leaderboard.rows import average_names

FIGURES = ("pareto.png", "pareto.svg")


def build(records: Iterable[Record], output: Path) -> list[Path]:
    """Write ``leaderboard.csv``, ``costs.csv``, ``leaderboard.md`` and the Pareto figure; return what was written.

    Without a done run there is no figure, and one from an earlier build is removed rather than left to mislead.

    Args:
        records: Records in any order, as ``read_records`` returns them.
        output: The folder to write into; made if it is not there.
    """
    records = list(records)
    refuse_incomparable(records)
    written = [write_scores(records, output / "leaderboard.csv"), write_costs(records, output / "costs.csv")]
    figures: dict[str, bytes] = {}
    if average_names(record for record in records if record.done):
        # Imported here: half a second and a font cache that a build without a figure need not pay for.
        from leaderboard.figures import pareto_figure

        figures = pareto_figure(records)
    for name in FIGURES:
        if name not in figures:
            (output / name).unlink(missing_ok=True)
    page = markdown(records, figure=FIGURES[0] if FIGURES[0] in figures else "")
    written.append(write_atomically(output / "leaderboard.md", page.encode("utf-8")))
    return [*written, *(write_atomically(output / name, content) for name, content in figures.items())]
