"""The embedded demo as a default: what `compare` runs when it is told nothing of backbone, data or benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.kinds import KINDS
from runners.progress import say

DEMO = "demo"
DEFAULTS: Mapping[str, Any] = {
    "backbone": DEMO,
    "benchmark": DEMO,
    **dict.fromkeys(KINDS, DEMO),
    "preset": DEMO,
    "methods": [
        "untrained-last",
        "untrained-mean",
        "infonce-mean",
        "infonce-inbatch-last",
        "infonce-inbatch-mean",
        "autoregembed",
        "llm2vec",
        "anchor-embedding",
    ],
    "budget": "500,2000",
    "output": Path("results/demo"),
}

# Who names any of these has a world of his own.
_WORLD = ("backbone", "benchmark", *KINDS, "data_dir", "tasks", "skip_tasks", "map")


def fill_in(options: argparse.Namespace, **other: Any) -> None:
    """Fill in the demo where nothing was said of backbone, data and benchmark; what was said otherwise stays.

    Args:
        options: Changed in place.
        other: Defaults of this command instead of the demo's.
    """
    if any(getattr(options, name, None) for name in _WORLD):
        return
    for name, value in {**DEFAULTS, **other}.items():
        if hasattr(options, name) and not getattr(options, name):
            setattr(options, name, value)
    say("No backbone, data or benchmark was given: this is the embedded demo (docs/demo.md).")
