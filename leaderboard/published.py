"""Scores that others have published, to be read beside ours: ``published.csv``.

One line is one printed number with the place it was read from. The numbers are copied as printed, wrong averages
included; nothing in the file was computed or measured here. ``method`` is the name that its authors or the table use,
``ours`` the method of this project that repeats it (empty where there is none), ``training_samples`` the volume as
tables print it: triplets or all examples, those of another kind in brackets, ``~`` for about, empty for not known.
``avg7`` and ``avg10`` are the averages of AutoRegEmbed's Table 1. A source that begins with ``secondary:`` has the
number from somebody else than the cited paper, unchecked: it is kept for the record and shown in no table.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from genembench.problem import Problem

FILE = Path(__file__).with_name("published.csv")
FIELDS = ("method", "backbone", "params", "dataset", "metric", "value", "training_samples", "source", "ours")
METRIC = "cosine_spearman"
METRICS = (
    *("cosine_spearman_x100", "nDCG@10_x100", "MAP_x100", "AP_x100", "v_measure_x100", "accuracy_x100"),
    *("main_score_x100", "Recall@100_x100", "Recall@1000_x100"),
)
SECONDARY = "secondary:"
SEVEN = frozenset({"STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark", "SICK-R"})
TEN = SEVEN | {"BIOSSES", "STS17", "STS22"}
# How sources call the mean over a set of tasks.
PRINTED_AVERAGES = {"avg7": SEVEN, "avg10": TEN, "MTEB-STS(10)": TEN}
_PATTERNS = {
    "params": (re.compile(r"\d+(\.\d+)?[MB]|"), "a number of parameters such as 7B or 125M, or nothing"),
    "training_samples": (re.compile(r"(~?\d+( \(\d+\))?)?"), "such as 50000 (16382) or ~160000, or nothing"),
    "ours": (re.compile(r"[a-z0-9]*(-[a-z0-9]+)*"), "the name of a method, or nothing"),
}


@dataclass(frozen=True)
class Fact:
    """One printed number; fields as in the file, ``value`` on the 0-100 scale."""

    method: str
    backbone: str
    params: str
    dataset: str
    metric: str
    value: float
    training_samples: str
    source: str
    ours: str

    @property
    def secondary(self) -> bool:
        """Whether the number was not read where it was first printed."""
        return self.source.startswith(SECONDARY)


@dataclass(frozen=True)
class Published:
    """What is printed of one method on one backbone: facts by dataset."""

    facts: Mapping[str, Fact]

    @property
    def first(self) -> Fact:
        """The fact that speaks for what all of them share."""
        return next(iter(self.facts.values()))

    def mean(self, tasks: Iterable[str]) -> float | None:
        """Return the mean of the printed scores of tasks; None unless all of them are printed."""
        facts = [self.facts.get(task) for task in tasks]
        present = [fact.value for fact in facts if fact]
        if not facts or len(present) < len(facts):
            return None
        # Printed scores have two decimals, so halves of the last one are common: a hair more rounds all of them up.
        return math.fsum(present) / len(facts) + 1e-9

    def average(self, tasks: Iterable[str]) -> Fact | None:
        """Return the printed average over exactly these tasks; None where none is printed."""
        wanted = set(tasks)
        printed = (self.facts.get(name) for name, over in PRINTED_AVERAGES.items() if over == wanted)
        return next((fact for fact in printed if fact), None)


def read_published(file: Path = FILE) -> list[Fact]:
    """Read the file, in its order.

    Raises:
        Problem: a line is damaged, or a number stands in the file twice.
    """
    with file.open(encoding="utf-8", newline="") as text:
        reader = csv.reader(text, strict=True)
        facts: dict[tuple[str, ...], Fact] = {}
        try:
            if (header := tuple(next(reader, []))) != FIELDS:
                raise _wrong(file, 1, f"should name the columns {','.join(FIELDS)}, got {','.join(header)!r}")
            for cells in reader:
                fact = _fact(cells, file, reader.line_num)
                key = (fact.method, fact.backbone, fact.params, fact.training_samples, fact.dataset, fact.metric)
                if key in facts:
                    raise _wrong(file, reader.line_num, f"repeats {fact.method} on {fact.backbone}, {fact.dataset}")
                facts[key] = fact
        except (csv.Error, UnicodeDecodeError) as error:
            raise _wrong(file, reader.line_num, f"is not readable as CSV: {error}") from None
    return list(facts.values())


def _fact(cells: list[str], file: Path, line: int) -> Fact:
    """Check one line."""
    if len(cells) != len(FIELDS):
        raise _wrong(file, line, f"has {len(cells)} fields instead of {len(FIELDS)}")
    fields = dict(zip(FIELDS, cells, strict=True))
    for name in ("method", "backbone", "dataset", "source"):
        if not fields[name].strip():
            raise _wrong(file, line, f"has no {name}")
    for name, (pattern, allowed) in _PATTERNS.items():
        if not pattern.fullmatch(fields[name]):
            raise _wrong(file, line, f"has {name} '{fields[name]}'; allowed is {allowed}")
    if fields["metric"] not in METRICS:
        raise _wrong(file, line, f"has metric '{fields['metric']}'; allowed are {', '.join(METRICS)}")
    try:
        value = float(fields["value"])
    except ValueError:
        value = math.nan
    if not -100 <= value <= 100:
        raise _wrong(file, line, f"has value '{fields['value']}'; allowed is a number from -100 to 100")
    return Fact(**{**fields, "value": value})  # type: ignore[arg-type]


def _wrong(file: Path, line: int, what: str) -> Problem:
    """Build the problem "this line cannot be used"."""
    return Problem(f"{file}: line {line} {what}", "Mend the line, or install genembench again if you did not edit it.")


def published_rows(facts: Iterable[Fact]) -> list[Published]:
    """Group the scores that tables can show into rows, in the file's order.

    A row that prints nothing but averages gives way to one that prints tasks too, of the same method of ours on the
    same backbone and as much data: it says the same with less.
    """
    grouped: dict[tuple[str, ...], dict[str, Fact]] = {}
    for fact in facts:
        if fact.metric == f"{METRIC}_x100" and not fact.secondary:
            key = (fact.method, fact.backbone, fact.params, fact.training_samples)
            grouped.setdefault(key, {})[fact.dataset] = fact
    rows = [Published(facts) for facts in grouped.values()]
    rows = [row for row in rows if row.facts.keys() & {*TEN, *PRINTED_AVERAGES}]
    detailed = {_same(row) for row in rows if row.facts.keys() & TEN}
    return [row for row in rows if row.facts.keys() & TEN or not row.first.ours or _same(row) not in detailed]


def _same(row: Published) -> tuple[str, str, str]:
    """Return what two rows share that are the same experiment."""
    return row.first.ours, row.first.backbone, row.first.training_samples
