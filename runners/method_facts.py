"""What a method's code says of itself, in words, for the terminal and for the page of all methods."""

from __future__ import annotations

import inspect

from methods.contract import Method, Stage
from methods.parts.readout import READOUTS, normalised_mean


def first_words(documented: object) -> str:
    """Return the first paragraph of an object's own documentation; nothing where it has none."""
    doc = inspect.cleandoc(getattr(documented, "__doc__", None) or "")
    # A dataclass without documentation gets its signature for one.
    if isinstance(documented, type) and doc.startswith(f"{documented.__name__}("):
        return ""
    return " ".join(doc.split("\n\n")[0].split())


def attention(method: Method) -> str:
    """Say which way the encoder looks."""
    return "causal" if method.causal else "bidirectional"


def reading(method: Method) -> str:
    """Say what is read out of the hidden states."""
    own = type(method).readout
    if own is not Method.readout:
        return first_words(own)
    return f"``{method.readout_kind}``: {first_words(READOUTS[method.readout_kind])}"


def pooling(method: Method) -> str:
    """Say how the read-out becomes one vector."""
    own = type(method).pool
    return first_words(normalised_mean if own is Method.pool else own)


def template(method: Method) -> str:
    """Say how a text becomes tokens, and which of them are content."""
    return first_words(type(method).tokenize)


def chain(method: Method) -> str:
    """Return the stages in order with their kinds of data."""
    return " → ".join(f"{stage.name} ({stage.data})" for stage in method.stages()) or "none"


def objective(stage: Stage) -> str:
    """Say what a stage is for."""
    return first_words(type(stage))


def headline(text: str) -> str:
    """Return the first sentence, which is what stands in a table."""
    return text.split(". ")[0].removesuffix(".")
