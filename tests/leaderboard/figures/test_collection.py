from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leaderboard.figures import Figure, collection, figures, is_figure
from leaderboard.records import Record
from leaderboard.rows import build_rows
from leaderboard.statistics import Statistics
from tests.leaderboard.figures.fakes import AVERAGE, MadeUp, Unknown, rows_of, table
from tests.leaderboard.made_up import finished, measured, record, untrained

RECORDS = [*table(2, (1000, 4000)), finished()]


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, but their files are empty: writing them takes longest."""
    monkeypatch.setattr(collection, "files", lambda name, sheet: {f"{name}.png": b"", f"{name}.pdf": b""})


def _drawn(records: list[Record], statistics: type[Statistics] = MadeUp, average: str = AVERAGE) -> list[Figure]:
    rows = rows_of(records)
    return figures(rows, statistics(rows), average)


@pytest.fixture(scope="module")
def two_budgets() -> list[Figure]:
    return _drawn(RECORDS)


def test_two_budgets_support_every_figure_but_the_course(two_budgets: list[Figure]) -> None:
    assert [figure.name for figure in two_budgets] == [
        *("pareto", "cost", "curves", "intervals", "heat_map", "significance", "significance-1000"),
    ]
    assert [figure.title for figure in two_budgets][-2:] == ["Differences, budget 4,000", "Differences, budget 1,000"]
    assert len({figure.title for figure in two_budgets}) == len(two_budgets)
    assert all(figure.alt.endswith(".") and "\n" not in figure.alt for figure in two_budgets)


def test_every_figure_is_a_png_for_the_page_and_a_pdf_for_the_paper(two_budgets: list[Figure]) -> None:
    for figure in two_budgets:
        assert list(figure.files) == [f"{figure.name}.png", f"{figure.name}.pdf"]
        png, pdf = figure.files.values()
        image = Image.open(io.BytesIO(png))
        image.load()
        assert np.asarray(image).std() > 1  # something is drawn
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
        assert image.width <= 1401  # two columns of a paper
        assert pdf.startswith(b"%PDF-1.4")
        assert pdf.rstrip().endswith(b"%%EOF")
        for word in (b"CreationDate", b"Matplotlib", b"matplotlib"):
            assert word not in pdf
            assert word not in png
        width, height = (float(word) for word in pdf.split(b"/MediaBox [ 0 0 ")[1].split(b" ]")[0].split())
        assert (width / 72 * 200, height / 72 * 200) == pytest.approx(image.size, abs=1.5)


def test_type_in_the_pdf_is_truetype_and_names_are_text(two_budgets: list[Figure]) -> None:
    pdf = two_budgets[0].files["pareto.pdf"]
    assert b"/Subtype /TrueType" in pdf or b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf
    streams = [part.split(b"endstream")[0].strip(b"\r\n") for part in pdf.split(b"stream\n")[1:]]
    pages = []
    for stream in streams:
        try:
            pages.append(zlib.decompress(stream))
        except zlib.error:
            continue
    shown = b"".join(page for page in pages if b" Tf" in page)
    # Kerning splits words into pieces in brackets, and every character has two bytes.
    plain = b"".join(piece.split(b")")[0] for piece in shown.split(b"(")[1:]).replace(b"\x00", b"")
    assert b"method-0" in plain


def test_another_process_makes_the_same_bytes_from_records_in_another_order(two_budgets: list[Figure]) -> None:
    code = (
        "import hashlib\n"
        "from leaderboard.figures import figures\n"
        "from tests.leaderboard.figures.fakes import AVERAGE, MadeUp, rows_of\n"
        "from tests.leaderboard.figures.test_collection import RECORDS\n"
        "rows = rows_of(RECORDS[::-1])\n"
        "for figure in figures(rows, MadeUp(rows), AVERAGE):\n"
        "    for name, content in figure.files.items(): print(name, hashlib.sha256(content).hexdigest())\n"
    )
    root = Path(__file__).parents[3]
    other = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1000000000", "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, env={**os.environ, **other})
    files = {name: content for figure in two_budgets for name, content in figure.files.items()}
    assert made.stdout.splitlines() == [f"{name} {hashlib.sha256(it).hexdigest()}" for name, it in files.items()]


@pytest.mark.parametrize(
    ("records", "names"),
    [
        ([], []),
        ([finished()], []),
        ([record()], ["pareto", "cost"]),
        ([untrained()], ["pareto", "cost"]),
        ([record(seed=0), record(seed=1)], ["pareto", "cost"]),
        ([finished(), finished("e5", 60.0)], ["intervals", "heat_map"]),
        ([record(), untrained()], ["pareto", "cost", "intervals", "heat_map", "significance"]),
    ],
)
@pytest.mark.usefixtures("unsaved")
def test_records_have_only_the_figures_that_make_sense(records: list[Record], names: list[str]) -> None:
    assert [figure.name for figure in _drawn(records)] == names


@pytest.mark.usefixtures("unsaved")
def test_without_predictions_there_is_nothing_about_uncertainty() -> None:
    assert [figure.name for figure in _drawn(table(2), Unknown)] == ["pareto", "cost", "heat_map"]


@pytest.mark.usefixtures("unsaved")
def test_a_task_may_be_the_headline() -> None:
    assert [figure.name for figure in _drawn(table(1), Unknown, "BIOSSES")] == ["pareto", "cost", "heat_map"]
    assert _drawn(table(1), Unknown, "no such score") == []


@pytest.mark.usefixtures("unsaved")
def test_real_statistics_draw_too(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    gold = generator.normal(size=60)
    runs = [
        measured(tmp_path, name, {"A": (gold.tolist(), (gold + noise * generator.normal(size=60)).tolist())})
        for name, noise in (("good", 0.2), ("bad", 5.0))
    ]
    rows = build_rows(runs)
    made = figures(rows, Statistics(rows, resamples=200), "All")
    assert [figure.name for figure in made] == ["pareto", "cost", "intervals", "heat_map", "significance"]
    assert "95 % intervals" in made[0].alt


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        *(("pareto.png", True), ("pareto.pdf", True), ("pareto.svg", True), ("heat_map.png", True)),
        *(("significance-1000.png", True), ("epochs-triplets=5.pdf", True), ("significance.pdf", True)),
        *(("pareto-mine.png", False), ("notes.png", False), ("leaderboard.md", False), ("xpareto.png", False)),
    ],
)
def test_files_of_an_earlier_build_are_known_by_their_names(name: str, ours: bool) -> None:
    assert is_figure(name) == ours


@pytest.mark.usefixtures("unsaved")
def test_every_file_name_is_one_that_is_known_as_ours(two_budgets: list[Figure]) -> None:
    strange = _drawn([*table(1), record(budget=1000), record(budget=4000)])
    assert all(is_figure(name) for figure in [*two_budgets, *strange] for name in figure.files)


def test_importing_the_figures_does_not_import_matplotlib() -> None:
    code = "import sys, leaderboard.figures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
