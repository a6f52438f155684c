"""Public face of genembench: what a plug-in author or a notebook needs, loaded when it is asked for.

from genembench import Method, Stage, register, load_encoder, read_records
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genembench.problem import Problem
    from leaderboard.records import read_records
    from methods.contract import Facts, Hyper, Method, Recipe, Stage, Trainable, hyper
    from methods.encoder import Encoder, load_encoder
    from methods.parts.losses import LossTerm
    from methods.registry import register

_HOME = {
    "Encoder": "methods.encoder",
    "Facts": "methods.contract",
    "Hyper": "methods.contract",
    "LossTerm": "methods.parts.losses",
    "Method": "methods.contract",
    "Problem": "genembench.problem",
    "Recipe": "methods.contract",
    "Stage": "methods.contract",
    "Trainable": "methods.contract",
    "hyper": "methods.contract",
    "load_encoder": "methods.encoder",
    "read_records": "leaderboard.records",
    "register": "methods.registry",
}

__all__ = [
    "Encoder",
    "Facts",
    "Hyper",
    "LossTerm",
    "Method",
    "Problem",
    "Recipe",
    "Stage",
    "Trainable",
    "hyper",
    "load_encoder",
    "read_records",
    "register",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'genembench' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
