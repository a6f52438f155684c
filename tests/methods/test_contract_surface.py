"""The contract is frozen (docs/contract.md): what a method may say and call, name by name, as it was when it froze.

A member may be added here, with a default; one that is changed or missing breaks methods that others have written.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import genembench
from methods.contract import Facts, Hyper, Method, Recipe, Stage, Start, Trainable
from methods.parts.losses import LossTerm
from methods.parts.tokens import TextTemplate, TokenRow

FROZEN = Path(__file__).with_name("contract_surface.txt")
CLASSES = (Method, Stage, Start, Trainable, Recipe, Facts, Hyper, LossTerm, TokenRow, TextTemplate)
FUNCTIONS = ("hyper", "info_nce", "load_encoder", "read_records", "register", "run_body", "save_merged", "trainable")


def surface() -> set[str]:
    """One line for each public name: fields with their defaults, methods with their signatures."""
    lines = {f"genembench.{name}" for name in genembench.__all__}
    lines |= {f"{name}{inspect.signature(getattr(genembench, name))}" for name in FUNCTIONS}
    for cls in CLASSES:
        fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
        for field in fields:
            default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
            lines.add(f"{cls.__name__}.{field.name}: {field.type}{default}")
        names = {*vars(cls), *cls.__annotations__} - {field.name for field in fields}
        for name in (name for name in names if not name.startswith("_")):
            value = inspect.getattr_static(cls, name, None)
            if isinstance(value, property):
                lines.add(f"{cls.__name__}.{name}: property")
            elif inspect.isfunction(value):
                lines.add(f"{cls.__name__}.{name}{inspect.signature(value)}")
            else:
                lines.add(f"{cls.__name__}.{name}: {cls.__annotations__[name]}")
    return lines


def test_nothing_of_the_contract_is_changed_or_missing() -> None:
    frozen = set(FROZEN.read_text(encoding="utf-8").splitlines())
    assert len(frozen) > 80
    assert not frozen - surface(), "the contract is frozen: add beside what is there, with a default (docs/contract.md)"


def test_what_is_added_is_written_down() -> None:
    frozen = set(FROZEN.read_text(encoding="utf-8").splitlines())
    assert not surface() - frozen, f"add these lines to {FROZEN.name}, and to docs/contract.md where it has a table"
