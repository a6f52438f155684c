"""The demo's sentences read back into meanings, by patterns of their own: `say` is no witness of what it says.

Whatever can be read back in one way only says one thing only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from benchmarks.demo import words
from benchmarks.demo.rows import demo_rows
from benchmarks.demo.scenes import Scene

# Words that say nothing by themselves: forms, prepositions, articles, counts' frames.
FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "the a of it was who where by did not never and in at on near aboard before among after end season",
    )
)


def _meanings(groups: Mapping[str, tuple[words.Wordings, ...]]) -> dict[str, str]:
    return {wording: wordings[0] for members in groups.values() for wordings in members for wording in wordings}


PLACES = _meanings(words.PLACES)
TIMES = _meanings(words.TIMES)
ACTIONS = _meanings(words.ACTIONS)
PAST = {words.past(verb): meaning for verb, meaning in ACTIONS.items()}
PEOPLE = _meanings(words.NOUNS)
MANY = {words.plural(noun): meaning for noun, meaning in PEOPLE.items()}
COUNTS = {wording: wordings[0] for wordings in words.COUNTS for wording in wordings}


def _written(meanings: Mapping[str, str]) -> dict[Any, list[str]]:
    return {meaning: [word for word, of in meanings.items() if of == meaning] for meaning in meanings.values()}


WORD_OF: Mapping[str, Mapping[Any, list[str]]] = {
    "place": _written(PLACES),
    "time": _written(TIMES),
    "action": _written(ACTIONS),
    "patient": _written(PEOPLE),
    "count": _written(COUNTS),
    "agent": {
        (meaning, one): each for one in (True, False) for meaning, each in _written(PEOPLE if one else MANY).items()
    },
}
"""How a meaning can be written; agents by meaning and whether it is one."""


def _one_of(known: Iterable[str], name: str) -> str:
    return f"(?P<{name}>{'|'.join(re.escape(word) for word in sorted(known))})"


_P, _T = _one_of(PLACES, "place"), _one_of(TIMES, "time")
_AGENTS = f"{_one_of(COUNTS, 'count')} {_one_of([*PEOPLE, *MANY], 'agent')}"
_PATIENT = f"the {_one_of(PEOPLE, 'patient')}"
_DID = f"(?:(?P<never>never )?{_one_of(PAST, 'past')}|did (?P<not>not) {_one_of(ACTIONS, 'base')})"
_WAS_DONE = f"was(?P<not> not| never)? {_one_of(PAST, 'past')}"
_SENTENCES = [
    re.compile(pattern)
    for pattern in (
        rf"{_AGENTS} {_DID} {_PATIENT} {_P} {_T}\.",
        rf"{_PATIENT} {_WAS_DONE} by {_AGENTS} {_P} {_T}\.",
        rf"{_T}, {_AGENTS} {_DID} {_PATIENT} {_P}\.",
        rf"it was {_AGENTS} who {_DID} {_PATIENT} {_P} {_T}\.",
        rf"{_P}, {_PATIENT} {_WAS_DONE} by {_AGENTS} {_T}\.",
        rf"{_P} and {_T}, {_AGENTS} {_DID} {_PATIENT}\.",
    )
]
_QUESTIONS = [
    re.compile(pattern)
    for pattern in (
        rf"who {_one_of(PAST, 'past')} {_PATIENT} {_P}\?",
        rf"who was {_one_of(PAST, 'past')} by {_AGENTS} {_P}\?",
        rf"where was {_PATIENT} {_one_of(PAST, 'past')} by {_AGENTS} {_T}\?",
    )
]


def readings(sentence: str) -> list[tuple[int, Scene]]:
    """Return every (form, meaning) that a sentence can be read as."""
    return [
        (form, Scene(**parts, negated=bool(groups.get("not") or groups.get("never"))))
        for form, pattern in enumerate(_SENTENCES)
        for found in [pattern.fullmatch(_uncapitalised(sentence))]
        if found
        for groups in [found.groupdict()]
        for parts in [_parts(groups)]
    ]


def read(sentence: str) -> Scene:
    """Return the one meaning of a sentence."""
    ((_, scene),) = readings(sentence)
    return scene


def read_question(question: str) -> dict[str, str]:
    """Return the parts of a meaning that a question names."""
    (found,) = [match for pattern in _QUESTIONS if (match := pattern.fullmatch(_uncapitalised(question)))]
    return _parts(found.groupdict())


def answers(question: str, statement: str) -> bool:
    """Whether a statement answers a question: it affirms every part that the question names."""
    scene = read(statement)
    return not scene.negated and all(getattr(scene, part) == word for part, word in read_question(question).items())


def content(sentence: str) -> set[str]:
    """Return a sentence's words in lower case, without those that say nothing by themselves."""
    return set(re.findall(r"\w+", sentence.lower())) - FUNCTION_WORDS


@cache
def rows(kind: str) -> list[dict[str, Any]]:
    """Return the demo's rows of a kind, made once for all tests."""
    return demo_rows(kind)


def _uncapitalised(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:]}"


def _parts(groups: Mapping[str, str | None]) -> dict[str, str]:
    """Return the meanings behind the words of a match; one agent is written in the singular, more in the plural."""
    parts = {}
    if place := groups.get("place"):
        parts["place"] = PLACES[place]
    if time := groups.get("time"):
        parts["time"] = TIMES[time]
    if patient := groups.get("patient"):
        parts["patient"] = PEOPLE[patient]
    if (count := groups.get("count")) and (agent := groups.get("agent")):
        parts["count"] = COUNTS[count]
        parts["agent"] = (PEOPLE if COUNTS[count] == "one" else MANY)[agent]
    done = groups.get("past")
    base = groups.get("base")
    parts["action"] = PAST[done] if done else ACTIONS[base or ""]
    return parts
