"""Sentences: a meaning can be said in six forms, and each of its words in two ways."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from random import Random

from benchmarks.demo.scenes import Scene
from benchmarks.demo.words import WORDINGS, past, plural

FORMS = 6


@dataclass(frozen=True)
class Style:
    """How a meaning is said: the form (0 to 5), and for each part which of its two wordings (0 or 1)."""

    form: int
    agent: int
    action: int
    patient: int
    place: int
    time: int
    count: int
    negation: int


def random_style(source: Random) -> Style:
    """Draw a form and a wording of every part."""
    return Style(source.randrange(FORMS), *(source.randrange(2) for _ in fields(Style)[1:]))


def reworded(style: Style, source: Random) -> Style:
    """Return a style of another form in which every part has its other wording."""
    other = {field.name: 1 - getattr(style, field.name) for field in fields(Style)[1:]}
    return replace(style, **other, form=other_form(style, source).form)


def other_form(style: Style, source: Random) -> Style:
    """Return a style of another form with the same words."""
    return replace(style, form=(style.form + source.randrange(1, FORMS)) % FORMS)


def partly_reworded(style: Style, source: Random) -> Style:
    """Return a style of another form in which each part has its other wording as often as not."""
    words = {field.name: source.randrange(2) for field in fields(Style)[1:]}
    return replace(style, **words, form=other_form(style, source).form)


def say(scene: Scene, style: Style) -> str:
    """Write a scene as one sentence."""

    def word(part: str) -> str:
        return WORDINGS[getattr(scene, part)][getattr(style, part)]

    agents = count_text(scene, style)
    patient = f"the {word('patient')}"
    place, time = word("place"), word("time")
    does = _verb(word("action"), scene.negated, style.negation)
    be = ("was not" if style.negation == 0 else "was never") if scene.negated else "was"
    suffers = f"{be} {past(word('action'))}"
    text = {
        0: f"{agents} {does} {patient} {place} {time}",
        1: f"{patient} {suffers} by {agents} {place} {time}",
        2: f"{time}, {agents} {does} {patient} {place}",
        3: f"it was {agents} who {does} {patient} {place} {time}",
        4: f"{place}, {patient} {suffers} by {agents} {time}",
        5: f"{place} and {time}, {agents} {does} {patient}",
    }[style.form]
    return f"{text[0].upper()}{text[1:]}."


def count_text(scene: Scene, style: Style) -> str:
    """Write the agents with their number, such as "two nurses" or "a pair of nurses"."""
    agent = WORDINGS[scene.agent][style.agent]
    return f"{WORDINGS[scene.count][style.count]} {agent if scene.count == 'one' else plural(agent)}"


def _verb(verb: str, negated: bool, negation: int) -> str:
    if not negated:
        return past(verb)
    return f"did not {verb}" if negation == 0 else f"never {past(verb)}"
