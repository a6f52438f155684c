"""Files of settings (options, benchmarks, presets): TOML, YAML or JSON, read in one way wherever one is taken.

It stands beside `problem` for the same reason: the rooms need it and none may import another for it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from genembench.problem import Problem, unknown

# JSON is read as JSON: YAML refuses its tabs, and takes 1e-4 and half an emoji (both are JSON) for other than they are.
_READERS: Mapping[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".json": json.loads,
}
ENDINGS = tuple(_READERS)


def is_settings_file(text: str) -> bool:
    """Whether what the user wrote is meant as a file of settings rather than as a name."""
    return text.lower().endswith(ENDINGS)


def read_settings(file: Path, option: str) -> dict[str, Any]:
    """Read a table of settings.

    Args:
        file: TOML, YAML or JSON by its ending; YAML if it has another.
        option: The option that names the file, for messages, such as ``--config``.

    Raises:
        Problem: not there, not readable, or not a table.
    """
    try:
        text = file.read_text(encoding="utf-8")
        values = _READERS.get(file.suffix.lower(), yaml.safe_load)(text)
    # What TOML and JSON refuse, and what is not UTF-8, are ValueErrors; so is the 99th of February in YAML.
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise Problem(f"{option} {file}: {reason}", "Give a TOML (.toml), YAML or JSON file of settings.") from error
    if not isinstance(values, dict):
        raise Problem(f"{option} {file} holds no settings", "Write one a line, such as budget: 10000")
    return {str(key): value for key, value in values.items()}


def refuse_unknown(values: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Raise a ``Problem`` with near misses for the first value that is not allowed."""
    allowed = list(allowed)
    for value in values:
        if value not in allowed:
            raise unknown(where, value, allowed)
