"""What `runners.sensitivity` found: tables for the terminal, one verdict, and a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from runners.sensitivity import DEFAULT, INVARIANT, Moved


def csv_text(found: Sequence[Moved]) -> str:
    """Return ``sensitivity.csv``: a line for each task under each setting."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", "setting", "pairs", "score", "change", "largest_cosine_change"])
    for each in found:
        numbers = (f"{each.score:.6f}", f"{each.change:.6f}", f"{each.largest:.3g}")
        writer.writerow([each.task, each.setting.name, each.pairs, *numbers])
    return text.getvalue()


def report(found: Sequence[Moved], left_out: Sequence[str], tasks_left_out: Sequence[str]) -> str:
    """Lay out how far each task moves, then each setting, then say whether the encoder depends on the batch."""
    others = [each for each in found if each.setting.name != DEFAULT]
    tasks = list(dict.fromkeys(each.task for each in found))
    settings = list(dict.fromkeys(each.setting for each in others))
    lines = [["task", "pairs", "score", "largest change", "under", "largest |cosine| change", "under"]]
    for task in tasks:
        default = next(each for each in found if each.task == task)
        moved = [each for each in others if each.task == task]
        score, cosine = _furthest(moved), max(moved, key=lambda each: each.largest)
        lines.append(
            [
                task,
                f"{default.pairs:,}",
                f"{default.score:.4f}",
                f"{score.change:+.4f}",
                score.setting.name,
                f"{cosine.largest:.1e}",
                cosine.setting.name,
            ]
        )
    by_setting = [["setting", "", "largest change", "on", "largest |cosine| change"]]
    for setting in settings:
        moved = [each for each in others if each.setting == setting]
        score, largest = _furthest(moved), max(each.largest for each in moved)
        by_setting.append([setting.name, setting.about, f"{score.change:+.4f}", score.task, f"{largest:.1e}"])
    parts = [_table(lines, left=(0, 4, 6)), _table(by_setting, left=(0, 1, 3))]
    notes = [f"Left out: {each}." for each in left_out]
    if tasks_left_out:
        notes.append(f"Not of sentence pairs, left out: {', '.join(tasks_left_out)}.")
    return "\n\n".join([*parts, "\n".join([*notes, verdict(found)])])


def verdict(found: Sequence[Moved]) -> str:
    """Say whether scores depend on how many texts, and which, go through the encoder together."""
    batch = [each for each in found if each.setting.batch and each.setting.name != DEFAULT]
    furthest, cosine = _furthest(batch), max(each.largest for each in batch)
    where = f"the largest change is {abs(furthest.change):.4f} ({furthest.task}, {furthest.setting.name})"
    where += f", of a cosine {cosine:.1e}"
    if abs(furthest.change) < INVARIANT:
        return f"Batch-invariant: no score moves by {INVARIANT} or more with the batch; {where}."
    return f"NOT batch-invariant: scores move with the batch by {INVARIANT} or more; {where}."


def _furthest(moved: Sequence[Moved]) -> Moved:
    return max(moved, key=lambda each: abs(each.change))


def _table(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Align columns two blanks apart, numbers to the right."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
