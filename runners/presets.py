"""Presets of hyper-parameters beyond those that methods bring: files of one's own, and the demo's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genembench.problem import Problem
from genembench.settings import is_settings_file, read_settings, refuse_unknown
from methods.registry import MethodEntry, Registry
from runners.demo import DEMO

DEFAULT = "paper"
BASE = "base"
_EXAMPLE = 'For example: base: small, infonce-mean: {learning_rate: 1e-4}, "*": {epochs: 2}'


@dataclass(frozen=True)
class Preset:
    """What ``--preset`` names.

    Attributes:
        base: A preset of the methods' own: paper, small, default or a plug-in's.
        values: Hyper-parameters over it, by method, or under ``*`` for every method that has them.
    """

    base: str
    values: Mapping[str, Mapping[str, Any]]

    def settings(self, entries: Sequence[MethodEntry]) -> list[str]:
        """Return the values that concern these methods in the form of ``--set``."""
        lines = []
        for entry in entries:
            free = {field.name for field in dataclasses.fields(entry.cls)} - set(entry.fixed)
            everybody = {key: value for key, value in self.values.get("*", {}).items() if key in free}
            for key, value in {**everybody, **self.values.get(entry.name, {})}.items():
                lines.append(f"{entry.name}.{key}={value if isinstance(value, str) else json.dumps(value)}")
        return lines


# The preset `small` was tuned on a backbone of five million parameters; one of a million learns faster.
_FASTER = ("learning_rate", "mntp_learning_rate", "anchor_learning_rate", "contrast_learning_rate")
DEMO_PRESET = Preset("small", {"*": dict.fromkeys(_FASTER, 1e-3)})


def load_preset(given: str | None, registry: Registry) -> Preset:
    """Read what ``--preset`` names: a preset of the methods, ``demo``, or a TOML, YAML or JSON file.

    A file holds a table for each method (or ``*``), and ``base``, the preset under it (`DEFAULT` if it says nothing).

    Raises:
        Problem: The file cannot be read, or names a method or hyper-parameter that does not exist.
    """
    if given == DEMO:
        return DEMO_PRESET
    if given is None or not is_settings_file(given):
        return Preset(given or DEFAULT, {})
    values = read_settings(Path(given), "--preset")
    base = values.pop(BASE, DEFAULT)
    if not isinstance(base, str):
        raise Problem(f"{BASE} in {given} is no name of a preset: {base!r}", _EXAMPLE)
    refuse_unknown(values, [*registry.entries, "*", BASE], f"method in {given}:")
    for name, table in values.items():
        if not isinstance(table, dict):
            raise Problem(f"{name} in {given}: expected a table of hyper-parameters, got {table!r}", _EXAMPLE)
        entries = list(registry.entries.values()) if name == "*" else [registry.entries[name]]
        known = {field.name for entry in entries for field in dataclasses.fields(entry.cls)}
        refuse_unknown(map(str, table), known, f"hyper-parameter of {name} in {given}:")
    return Preset(base, values)
