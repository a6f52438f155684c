"""Every figure that some records support, drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from leaderboard.columns import budget_text
from leaderboard.figures import costs, courses, curves, epochs, heat_map, intervals, pareto, significance
from leaderboard.figures.drawing import Figure
from leaderboard.figures.entries import Entry, entries, quality_text
from leaderboard.figures.style import files, style
from leaderboard.headline import shared_averages
from leaderboard.rows import Row, budget_size
from leaderboard.statistics import Statistics


def draw_all(rows: Sequence[Row], statistics: Statistics, average: str) -> list[Figure]:
    """Draw every figure that makes sense for these rows; see `leaderboard.figures.figures`."""
    shown = entries(rows, statistics, average)
    if not shown:
        return []
    quality = quality_text(rows, average)
    with style():
        return [
            *_pareto(shown, quality),
            *_curves(shown, statistics, average, quality),
            *_intervals(shown, statistics, average, quality),
            *_heat_map(rows, statistics, average),
            *_significance(shown, statistics, average),
        ]


def _pareto(shown: Sequence[Entry], quality: str) -> Iterator[Figure]:
    """Draw quality over costs: examples and FLOPs, then the others."""
    bars = " Vertical bars are 95 % intervals." if any(entry.interval for entry in shown) else ""
    front = " A grey line joins the methods that no other beats on both (the Pareto front)."
    probed = costs.inference_cost(shown)
    headline = costs.training_costs(shown, costs.HEADLINE)
    others = [*costs.training_costs(shown, costs.OTHERS), *([probed] if probed else [])]
    for name, title, paid in (("pareto", "Quality and cost", headline), ("cost", "Quality and further costs", others)):
        if paid:
            alt = f"Quality over {_listed([_small(it.name) for it in paid])}, one point a row.{front}{bars}"
            yield Figure(name, title, alt, files(name, pareto.draw(shown, paid, quality)))


def _curves(shown: Sequence[Entry], statistics: Statistics, average: str, quality: str) -> Iterator[Figure]:
    """Draw quality over budget and over the course of training."""
    if curves.supported(shown):
        alt = "Quality over the number of unique training examples, one line a method through its budgets."
        yield Figure("curves", "Quality and budget", alt, files("curves", curves.draw(shown, quality)))
    # Packed records may hold fewer resamples than a course would take.
    found = courses.read_courses(shown, average, min(courses.RESAMPLES, statistics.resamples))
    order = [label for label in _budgets(shown) if label in found]
    for label in reversed(order):
        name = "epochs" if label == order[-1] else f"epochs-{_file(label)}"
        # A row that trains nothing has the same score all along.
        levels = [entry for entry in shown if entry.finished or not entry.row.first.budget.asked]
        alt = f"Quality over the examples seen in training, budget {budget_text(label)}, one line a method."
        title = "Quality over the course of training" + (f", budget {budget_text(label)}" if len(order) > 1 else "")
        yield Figure(name, title, alt, files(name, epochs.draw(found[label], levels, quality)))


def _intervals(shown: Sequence[Entry], statistics: Statistics, average: str, quality: str) -> Iterator[Figure]:
    """Draw the forest plot, if there are intervals to be seen side by side."""
    if len(shown) > 1 and any(entry.interval for entry in shown):
        alt = "Scores with their 95 % intervals, best first; rows that share a letter cannot be told apart."
        sheet = intervals.draw(shown, statistics, average, quality)
        yield Figure("intervals", "Scores and intervals", alt, files("intervals", sheet))


def _heat_map(rows: Sequence[Row], statistics: Statistics, average: str) -> Iterator[Figure]:
    """Draw the heat map, which is no more than the table where there is a single row."""
    if len(rows) > 1:
        alt = "Every score, coloured from the worst (pale) to the best (dark) of its own column."
        averages = [*shared_averages(rows)] or [average]
        sheet = heat_map.draw(rows, statistics, averages)
        yield Figure("heat_map", "Scores by task", alt, files("heat_map", sheet))


def _significance(shown: Sequence[Entry], statistics: Statistics, average: str) -> Iterator[Figure]:
    """Draw one matrix of differences for each contest; the largest budget's has the plain name."""
    made = [(contest, found) for contest in statistics.contests if (found := statistics.comparisons(contest, average))]
    for contest, comparisons in reversed(made):
        last = contest is made[-1][0]
        name = "significance" if last else f"significance-{_file(contest.budget)}"
        many = f"budget {budget_text(contest.budget)}" if len(made) > 1 else ""
        members = [entry for entry in shown if entry.at in contest.rows]
        alt = f"Differences between all pairs of rows in {average}; bold and outlined are significant after Holm."
        sheet = significance.draw(members, comparisons, many)
        yield Figure(name, f"Differences{', ' if many else ''}{many}", alt, files(name, sheet))


def _budgets(shown: Sequence[Entry]) -> list[str]:
    """Return the budgets' labels, smallest first."""
    records = [entry.row.first for entry in shown if entry.row.first.budget.asked]
    sizes = {record.budget.label: budget_size(record) for record in records}
    return sorted(sizes, key=lambda label: (sizes[label], label))


def _file(label: str) -> str:
    """Return a budget's label as a part of a file's name."""
    return re.sub(r"[^0-9A-Za-z=.]+", "-", label).strip("-.") or "budget"


def _small(name: str) -> str:
    """Return an axis's name inside a sentence."""
    return name[:1].lower() + name[1:] if name[1:2].islower() else name


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
