"""The contract as checks: each looks at one method and tells its author what is kept and what is broken.

``genembench check`` prints them, ``tests/contract`` runs them over every registered method; there is no other list.
"""

from __future__ import annotations

from runners.contract_checks import encoding, exactness, saving, statements, training
from runners.contract_checks.outcome import Check, Outcome, perform
from runners.contract_checks.subject import Broken, Skipped, Subject

CHECKS = (
    Check("facts", "facts, documentation and evidence are stated", statements.facts),
    Check("configuration", "its configuration survives JSON and --set", statements.configuration),
    Check("tokenize", "texts become token rows: in order, within max_length, with the prompt whole", encoding.tokenize),
    Check("vectors", "vectors do not depend on neighbours, order or padding side", encoding.vectors),
    Check("save", "what training leaves on disk loads into the same encoder", saving.save),
    Check("loss", "the loss is finite, weighs what it says, and is the same in micro-batches", training.loss),
    Check("moves", "a step moves every trainable parameter and no frozen one", training.moves),
    Check("improves", "a few steps make the loss on their own examples smaller", training.improves),
    Check("resume", "a resumed training ends where an uninterrupted one does", exactness.resume),
    Check("budget", "no budget is exceeded and every token is charged", exactness.budget),
    Check("seed", "the same seed gives the same weights, another seed other ones", exactness.seeds),
)
"""Every check, in the order in which they are worth reading."""

__all__ = ["CHECKS", "Broken", "Check", "Outcome", "Skipped", "Subject", "perform"]
