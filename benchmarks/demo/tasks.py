"""What the demo measures: four STS-like tasks that each stress something else, a development set, and retrieval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

from benchmarks.demo import scenes
from benchmarks.demo.rows import SOFT_EDITS, questions
from benchmarks.demo.scenes import Scene, Split, similarity
from benchmarks.demo.surface import Style, other_form, partly_reworded, random_style, reworded, say
from benchmarks.sts_files import StsPair

PAIRS = 400
"""Sentence pairs in each STS-like task."""

Partner = Callable[[Scene, Style, Random], tuple[Scene, Style]]
"""Makes the second meaning and style of a pair."""


def paraphrase(scene: Scene, style: Style, source: Random) -> tuple[Scene, Style]:
    """The same meaning in other words, or one to three parts of it changed; words change at random."""
    changes = source.randrange(4)
    if changes == 0:
        return scene, source.choice([reworded, partly_reworded])(style, source)
    for edit in source.sample(SOFT_EDITS, changes):
        scene = edit(scene, source)
    return scene, partly_reworded(style, source)


def roles(scene: Scene, style: Style, source: Random) -> tuple[Scene, Style]:
    """Who did it to whom stays or is the other way round, one action in four is another; words change at random."""
    if source.random() < 0.5:
        scene = scenes.swap_roles(scene, source)
    if source.random() < 0.25:
        scene = scenes.change_action(scene, source)
    return scene, partly_reworded(style, source)


def negation(scene: Scene, style: Style, source: Random) -> tuple[Scene, Style]:
    """Negated or not, as many or not; words change at random."""
    for edit in source.choice([[], [scenes.recount], [scenes.negate], [scenes.negate, scenes.recount]]):
        scene = edit(scene, source)
    return scene, partly_reworded(style, source)


def topic(scene: Scene, style: Style, source: Random) -> tuple[Scene, Style]:
    """No word of content in common: only how many people, places and doings are of one group."""
    return scenes.same_topic(scene, source), other_form(style, source)


def mixed(scene: Scene, style: Style, source: Random) -> tuple[Scene, Style]:
    """Any of the first three: beside them, pairs without a common word would be told apart by that alone."""
    return source.choice([paraphrase, roles, negation])(scene, style, source)


STS: Mapping[str, tuple[Partner, Split]] = {
    "DemoParaphrase": (paraphrase, "test"),
    "DemoRoles": (roles, "test"),
    "DemoNegation": (negation, "test"),
    "DemoTopic": (topic, "test"),
    "DemoDev": (mixed, "dev"),
}
RETRIEVAL = "DemoRetrieval"


def sts_pairs(task: str) -> list[StsPair]:
    """Return the pairs of an STS-like task; scores run from 0 to 5."""
    partner, split = STS[task]
    source = Random(f"{task}: pairs")
    pairs = []
    for scene in islice(scenes.scenes(task, split), PAIRS):
        # One agent each: a plural that moves with the roles would give them away to a bag of words.
        scene = replace(scene, count="one") if partner is roles else scene
        style = random_style(source)
        other, other_style = partner(scene, style, source)
        pairs.append(StsPair(say(scene, style), say(other, other_style), similarity(scene, other)))
    return pairs


@dataclass(frozen=True)
class Retrieval:
    """Questions, statements, and for each question the one statement that answers it (ids to ids)."""

    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    relevant: Mapping[str, str]


def retrieval(count: int = 200) -> Retrieval:
    """Return the retrieval task: each answer stands among statements that differ from it by one edit.

    A question that a statement of another one answers too is left out. No answer shares a word of content with its
    question.
    """
    source = Random("retrieval: distractors")
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, str] = {}
    asked: list[Mapping[str, str]] = []
    stated: list[Scene] = []
    for row in questions(RETRIEVAL, "test"):
        edits = (scenes.swap_roles, scenes.negate, scenes.change_action)
        others = [edit(row["scene"], source) for edit in edits]
        own = [row["scene"], *others]
        if any(_answers(row["named"], scene) for scene in stated) or any(
            _answers(named, scene) for named in asked for scene in own
        ):
            continue
        number = len(queries)
        queries[f"q{number}"], relevant[f"q{number}"] = row["query"], f"d{number}"
        corpus[f"d{number}"] = row["document"]
        for edit, scene in zip(edits, others, strict=True):
            corpus[f"d{number}-{edit.__name__}"] = say(scene, reworded(row["style"], source))
        asked.append(row["named"])
        stated += own
        if len(queries) == count:
            break
    return Retrieval(queries, corpus, relevant)


def _answers(named: Mapping[str, str], scene: Scene) -> bool:
    return not scene.negated and all(getattr(scene, part) == word for part, word in named.items())
