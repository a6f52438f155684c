"""Which Python code a sentence-transformers model brings: what its files name beside the libraries' own classes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genembench.problem import Problem

MODULES = "modules.json"
CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files whose ``auto_map`` names classes for transformers to load."""
_AGAIN = "Save or copy the model again."


def read_modules(file: Path) -> list[dict[str, Any]]:
    """Read the modules that a model is made of.

    Raises:
        Problem: the file holds none.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        modules = [dict(module) for module in found]
        whole = bool(modules) and all(isinstance(module["type"], str) for module in modules)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(f"{file} cannot be read: {type(error).__name__}: {error}", _AGAIN) from error
    if not whole:
        raise Problem(f"{file} names no modules", _AGAIN)
    return modules


def module_code(modules: Iterable[dict[str, Any]]) -> list[str]:
    """Return the classes of modules that are not sentence-transformers' own."""
    return [str(module["type"]) for module in modules if not str(module["type"]).startswith("sentence_transformers.")]


def mapped_code(file: Path) -> list[str]:
    """Return the classes that one of `CONFIGS` has transformers load from a model's code."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # Who loads it says what is wrong with it.
    named = found.get("auto_map") if isinstance(found, dict) else None
    return list(_texts(named))


def elsewhere(reference: str) -> str | None:
    """Return the hub's repository that a class stands in, where that is another than the model's."""
    repository, dashes, _ = reference.partition("--")
    return repository if dashes else None


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
