"""The demo's training data: text, triplets, instruct data and question-statement pairs, all of training scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

from benchmarks.demo import scenes
from benchmarks.demo.scenes import Scene, Split
from benchmarks.demo.surface import Style, count_text, other_form, random_style, reworded, say
from benchmarks.demo.words import GROUP, WORDINGS, past

Row = dict[str, Any]

ROWS: Mapping[str, int] = {"triplets": 8_000, "instruct": 3_000, "pairs": 3_000, "text": 24_000}
"""How many rows of each kind there are."""

# The smallest changes of a meaning: a negative that shares nearly every word with its query.
HARD_EDITS: tuple[scenes.Edit, ...] = (
    scenes.swap_roles,
    scenes.swap_roles,
    scenes.negate,
    scenes.recount,
    scenes.change_action,
    scenes.change_agent,
    scenes.change_patient,
)

# One part each that sharing most words does not hide; several of them make a meaning that is further off.
SOFT_EDITS: tuple[scenes.Edit, ...] = (
    scenes.change_action,
    scenes.change_agent,
    scenes.change_patient,
    scenes.change_frame,
)


def demo_rows(kind: str) -> list[Row]:
    """Return all rows of a kind of data (``benchmarks.kinds.KINDS``), the same on every machine and every time."""
    return list(islice(_MAKERS[kind](), ROWS[kind]))


def triplets() -> Iterator[Row]:
    """Yield triplets: a sentence, the same meaning in other words, another meaning in nearly the same words.

    Of the negatives half differ in one part of the meaning, the others in several or in all.
    """
    source = Random("triplets: styles")
    for scene in scenes.scenes("triplets", "train"):
        style = random_style(source)
        positive = reworded(style, source) if source.random() < 0.5 else other_form(random_style(source), source)
        scene, edited = _edited(scene, source)
        yield {
            "query": say(scene, style),
            "positive": say(scene, positive),
            "negative": say(edited, other_form(style, source)),
        }


def _edited(scene: Scene, source: Random) -> tuple[Scene, Scene]:
    """Return a scene and what an edit makes of it; what is tested is not met as a negative either."""
    while True:
        edits = source.choices(_EDITS, _EDIT_SHARES)[0](source)
        # One agent: a plural that moves with the roles would be all that is learnt of them.
        edited = first = replace(scene, count="one") if scenes.swap_roles in edits else scene
        for edit in edits:
            edited = edit(edited, source)
        if edited.split == "train":
            return first, edited


def _kept_for_training(draw: Callable[[], Scene]) -> Scene:
    while (scene := draw()).split != "train":
        pass
    return scene


_EDITS: list[Callable[[Random], list[scenes.Edit]]] = [
    lambda source: [source.choice(HARD_EDITS)],
    lambda source: source.sample(SOFT_EDITS, source.randrange(2, 5)),
    lambda source: [scenes.same_topic],
]
_EDIT_SHARES = [0.5, 0.25, 0.25]


def pairs() -> Iterator[Row]:
    """Yield questions with the statement that answers them."""
    for row in questions("pairs", "train"):
        yield {"query": row["query"], "document": row["document"]}


def questions(seed: str, split: Split) -> Iterator[Row]:
    """Yield ``query`` (a question), ``document`` (its answer in other words), its ``scene``, the query's ``style``.

    ``named`` are the parts of the scene that the question names: who affirms them answers it.
    """
    source = Random(f"{seed}: styles")
    for scene in scenes.scenes(seed, split):
        if scene.negated:
            continue
        style = random_style(source)
        asked = source.choice([ask_agent, ask_patient, ask_place])
        named = {part: getattr(scene, part) for part in _NAMED[asked]}
        yield {
            "query": asked(scene, style),
            "document": say(scene, reworded(style, source)),
            "scene": scene,
            "named": named,
            "style": style,
        }


def ask_agent(scene: Scene, style: Style) -> str:
    """Ask who did it."""
    action, patient, place, _ = _words(scene, style)
    return f"Who {past(action)} the {patient} {place}?"


def ask_patient(scene: Scene, style: Style) -> str:
    """Ask to whom it was done."""
    action, _, place, _ = _words(scene, style)
    return f"Who was {past(action)} by {count_text(scene, style)} {place}?"


def ask_place(scene: Scene, style: Style) -> str:
    """Ask where it was done."""
    action, patient, _, time = _words(scene, style)
    return f"Where was the {patient} {past(action)} by {count_text(scene, style)} {time}?"


_NAMED: Mapping[Callable[[Scene, Style], str], tuple[str, ...]] = {
    ask_agent: ("action", "patient", "place"),
    ask_patient: ("action", "agent", "count", "place"),
    ask_place: ("action", "agent", "count", "patient", "time"),
}


def instruct() -> Iterator[Row]:
    """Yield a sentence, what to do with it, and the result."""
    source = Random("instruct: styles")
    for scene in scenes.scenes("instruct", "train"):
        style = random_style(source)
        target = reworded(style, source)
        action, patient, place, time = _words(scene, target)
        instruction, answer = source.choice(
            [
                ("Say it in other words.", say(scene, target)),
                ("Say it in other words.", say(scene, target)),
                ("Who did it, if anybody?", "Nobody did." if scene.negated else f"{count_text(scene, target)}."),
                ("Whom is it about?", f"The {patient}, and {count_text(scene, target)}."),
                ("Where and when?", f"{place} and {time}."),
                ("What was it?", f"To {action} somebody."),
                ("Did it take place?", "No." if scene.negated else "Yes."),
            ]
        )
        yield {"context": say(scene, style), "instruction": instruction, "target": answer}


def text() -> Iterator[Row]:
    """Yield short texts: a scene said again in other words, scenes of one topic, questions with answers, glosses."""
    source = Random("text: styles")
    stream = scenes.scenes("text", "train")
    for scene in stream:
        style = random_style(source)
        said = say(scene, style)
        yield {"text": source.choices(_TEXTS, _SHARES)[0](scene, style, said, source)}


def _again(scene: Scene, style: Style, said: str, source: Random) -> str:
    return f"{said} In other words: {say(scene, reworded(style, source))}"


def _unlike(scene: Scene, style: Style, said: str, source: Random) -> str:
    edited = _kept_for_training(lambda: source.choice(HARD_EDITS)(scene, source))
    return f"{said} That is not to say: {say(edited, other_form(style, source))}"


def _topic(scene: Scene, style: Style, said: str, source: Random) -> str:
    other = _kept_for_training(lambda: scenes.same_topic(scene, source))
    return f"{said} {say(other, random_style(source))}"


def _question(scene: Scene, style: Style, said: str, source: Random) -> str:
    asked, answer = source.choice(
        [
            (ask_agent, count_text(scene, style)),
            (ask_patient, f"the {WORDINGS[scene.patient][style.patient]}"),
            (ask_place, WORDINGS[scene.place][style.place]),
        ]
    )
    if scene.negated:
        answer = "nowhere" if asked is ask_place else "nobody"
    return f"{said} {asked(scene, random_style(source))} {answer[0].upper()}{answer[1:]}."


def _gloss(scene: Scene, style: Style, said: str, source: Random) -> str:
    """Close with the words of a common embedding prompt, so that the backbone has met its tokens."""
    word = source.choice([scene.action, scene.agent, scene.patient, GROUP[scene.place]])
    return f"{said}\nThis sentence means in one word: “{word}”"


_TEXTS: list[Callable[[Scene, Style, str, Random], str]] = [_again, _unlike, _topic, _question, _gloss]
_SHARES = [0.4, 0.1, 0.15, 0.15, 0.2]


def _words(scene: Scene, style: Style) -> tuple[str, str, str, str]:
    """Return action, patient, place and time in a style's wording."""
    return (
        WORDINGS[scene.action][style.action],
        WORDINGS[scene.patient][style.patient],
        WORDINGS[scene.place][style.place],
        WORDINGS[scene.time][style.time],
    )


_MAKERS: Mapping[str, Callable[[], Iterator[Row]]] = {
    "triplets": triplets,
    "instruct": instruct,
    "pairs": pairs,
    "text": text,
}
