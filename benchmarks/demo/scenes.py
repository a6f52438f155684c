"""Meanings: who did what to whom, where, when, how many, or did not; and how alike two meanings are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random
from typing import Literal

from benchmarks.demo.words import ACTIONS, COUNTS, GROUP, NOUNS, PLACES, TIMES, Wordings

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True, order=True)
class Scene:
    """One meaning; every field but ``negated`` is the first wording of a word in `benchmarks.demo.words`."""

    agent: str
    action: str
    patient: str
    place: str
    time: str
    count: str
    negated: bool = False

    @property
    def split(self) -> Split:
        """Where scenes with this agent, action and patient belong: no such three stand in two splits."""
        core = f"{self.agent} {self.action} {self.patient}".encode()
        part = blake2b(core, digest_size=1).digest()[0] / 256
        return "test" if part < 0.2 else "dev" if part < 0.3 else "train"


WEIGHTS: Mapping[str, float] = {
    "action": 0.3,
    "agent": 0.2,
    "patient": 0.2,
    "count": 0.1,
    "place": 0.1,
    "time": 0.1,
}
"""What each part of a meaning counts for; they add up to 1."""
RELATED = 0.4
"""How alike two different words of one group are."""
OTHER_POLARITY = 0.4
"""What is left of the likeness when one of two scenes did not take place."""


def similarity(one: Scene, other: Scene) -> float:
    """Gold score of two scenes, from 0 (nothing in common) to 5 (the same meaning).

    The weighted share of parts that agree, `RELATED` for different words of one group. Who swaps agent and patient gets
    nothing for either. One scene affirmed and the other negated leaves `OTHER_POLARITY` of it.
    """
    swapped = one.agent == other.patient and one.patient == other.agent
    alike = sum(
        weight * (0.0 if swapped and part in ("agent", "patient") else _alike(getattr(one, part), getattr(other, part)))
        for part, weight in WEIGHTS.items()
    )
    # Rounded because sums of tenths are not exact, and pairs that are equally alike must tie.
    return round(5 * alike * (1.0 if one.negated == other.negated else OTHER_POLARITY), 4)


def _alike(one: str, other: str) -> float:
    return 1.0 if one == other else RELATED if GROUP[one] == GROUP[other] else 0.0


def sample(source: Random, split: Split) -> Scene:
    """Draw a scene of a split: mostly people and a place of one domain, one scene in five negated."""
    while True:
        domain = source.choice(list(NOUNS))
        agent = _one(source, NOUNS[domain])
        patient = _one(source, NOUNS[_near(source, domain)])
        scene = Scene(
            agent=agent,
            action=_one(source, ACTIONS[source.choice(list(ACTIONS))]),
            patient=patient,
            place=_one(source, PLACES[_near(source, domain)]),
            time=_one(source, TIMES[source.choice(list(TIMES))]),
            count=_one(source, COUNTS),
            negated=source.random() < 0.2,
        )
        if agent != patient and scene.split == split:
            return scene


def _near(source: Random, domain: str) -> str:
    return domain if source.random() < 0.75 else source.choice(list(NOUNS))


def _one(source: Random, members: tuple[Wordings, ...]) -> str:
    return source.choice(members)[0]


def _other(source: Random, word: str, groups: Mapping[str, tuple[Wordings, ...]], related: bool | None = None) -> str:
    """Return another word of the same sort: of the same group, of another one, or (None) of any."""
    words = [it[0] for group, members in groups.items() for it in members if related in (None, group == GROUP[word])]
    return source.choice([it for it in words if it != word])


def swap_roles(scene: Scene, source: Random) -> Scene:
    """Let agent and patient change places."""
    return replace(scene, agent=scene.patient, patient=scene.agent)


def negate(scene: Scene, source: Random) -> Scene:
    """Affirm what was negated and the other way round."""
    return replace(scene, negated=not scene.negated)


def recount(scene: Scene, source: Random) -> Scene:
    """Change how many did it."""
    return replace(scene, count=_other(source, scene.count, {it[0]: (it,) for it in COUNTS}))


def change_action(scene: Scene, source: Random) -> Scene:
    """Change what was done."""
    return replace(scene, action=_other(source, scene.action, ACTIONS))


def change_agent(scene: Scene, source: Random) -> Scene:
    """Change who did it, within the domain."""
    return _unlike(scene, replace(scene, agent=_other(source, scene.agent, NOUNS, related=True)), source, change_agent)


def change_patient(scene: Scene, source: Random) -> Scene:
    """Change to whom it was done, within the domain."""
    changed = replace(scene, patient=_other(source, scene.patient, NOUNS, related=True))
    return _unlike(scene, changed, source, change_patient)


def change_frame(scene: Scene, source: Random) -> Scene:
    """Change place and time."""
    return replace(scene, place=_other(source, scene.place, PLACES), time=_other(source, scene.time, TIMES))


Edit = Callable[[Scene, Random], Scene]


def _unlike(scene: Scene, changed: Scene, source: Random, again: Edit) -> Scene:
    """Nobody does anything to himself."""
    return again(scene, source) if changed.agent == changed.patient else changed


def same_topic(scene: Scene, source: Random) -> Scene:
    """Return a scene that shares no word with this one, but the group of each part, as often as not."""

    def other(word: str, groups: Mapping[str, tuple[Wordings, ...]]) -> str:
        return _other(source, word, groups, related=source.random() < 0.5)

    while True:
        changed = Scene(
            agent=other(scene.agent, NOUNS),
            action=other(scene.action, ACTIONS),
            patient=other(scene.patient, NOUNS),
            place=other(scene.place, PLACES),
            time=other(scene.time, TIMES),
            count=recount(scene, source).count,
            negated=scene.negated,
        )
        people = {changed.agent, changed.patient}
        if len(people) == 2 and not people & {scene.agent, scene.patient}:
            return changed


def scenes(seed: str, split: Split) -> Iterator[Scene]:
    """Yield different scenes of a split for ever, the same for the same seed."""
    source, seen = Random(seed), set[Scene]()
    while True:
        scene = sample(source, split)
        if scene not in seen:
            seen.add(scene)
            yield scene
