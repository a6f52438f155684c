"""A list of checks with what each found: in order, against the claim, or not to be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from genembench.problem import Problem

Outcome = Literal["ok", "differs", "unchecked", "note"]
_MARKS = {"ok": "ok", "differs": "DIFFERS", "unchecked": "?", "note": "note"}


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        part: What it belongs to: record, contents, scores, training.
        name: What was checked.
        outcome: ``ok``; ``differs`` from what the record claims; ``unchecked``, with the reason; a ``note`` judges
            nothing.
        detail: What was found, one sentence.
    """

    part: str
    name: str
    outcome: Outcome
    detail: str


@dataclass
class Checklist:
    """Checks in the order in which they were made; what could not be checked stands among them."""

    checks: list[Check] = field(default_factory=list)

    def add(self, part: str, name: str, outcome: Outcome, detail: str) -> None:
        """Write down what a check found."""
        self.checks.append(Check(part, name, outcome, detail))

    def judge(self, part: str, name: str, same: bool, ok: str, differs: str) -> bool:
        """Write down ``ok`` or ``differs`` with its own words; return whether it was the first."""
        self.add(part, name, "ok" if same else "differs", ok if same else differs)
        return same

    @contextmanager
    def trying(self, part: str, name: str) -> Iterator[None]:
        """Make a ``Problem`` inside an ``unchecked``: what the check needs is not to be had."""
        try:
            yield
        except Problem as problem:
            self.add(part, name, "unchecked", ". ".join(filter(None, (problem.what, problem.hint))))

    def count(self, outcome: Outcome) -> int:
        """Return how many checks ended so."""
        return sum(check.outcome == outcome for check in self.checks)

    @property
    def verdict(self) -> str:
        """``differs`` if anything does; else ``ok``, and ``nothing checked`` where there is nothing to say it of."""
        if self.count("differs"):
            return "differs"
        return "ok" if self.count("ok") else "nothing checked"

    def lines(self) -> list[str]:
        """Lay the checks out, part by part."""
        found: list[str] = []
        for part in dict.fromkeys(check.part for check in self.checks):
            found += ["", part]
            for check in self.checks:
                if check.part == part:
                    reason = "could not be checked: " if check.outcome == "unchecked" else ""
                    found.append(f"  {_MARKS[check.outcome]:<7}  {check.name}: {reason}{check.detail}")
        return found[1:]

    def summary(self) -> str:
        """Return the count of each outcome, in words."""
        parts = [f"{self.count('ok')} checks ok", f"{self.count('differs')} differ"]
        return ", ".join([*parts, f"{self.count('unchecked')} could not be checked"])

    def to_json(self) -> list[dict[str, Any]]:
        """Return the checks as ``--json`` writes them."""
        return [asdict(check) for check in self.checks]
