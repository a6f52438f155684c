from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import fields

import pytest

from benchmarks.demo.rows import ROWS
from benchmarks.demo.scenes import Scene
from benchmarks.demo.tasks import RETRIEVAL, STS
from benchmarks.kinds import KINDS, normalise, texts_of
from benchmarks.overlap import HeldOutSentences
from benchmarks.suite import DEMO_TASKS, Benchmark
from benchmarks.training_data import load_training_data
from tests.benchmarks.demo.reading import PEOPLE, WORD_OF, answers, content, read, read_question, rows

RESTATED, CONTRASTED = " In other words: ", " That is not to say: "
GLOSS = "\nThis sentence means in one word: “"


def differing(one: Scene, other: Scene) -> set[str]:
    return {field.name for field in fields(Scene) if getattr(one, field.name) != getattr(other, field.name)}


def agents(scene: Scene) -> set[str]:
    """Return the four ways to write who did it, such as "two doctors"."""
    counts, people = WORD_OF["count"][scene.count], WORD_OF["agent"][scene.agent, scene.count == "one"]
    return {f"{count} {noun}" for count in counts for noun in people}


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_as_many_rows_as_promised_all_different_and_all_of_their_kind(kind: str) -> None:
    made = rows(kind)
    assert len(made) == ROWS[kind] == {"triplets": 8000, "instruct": 3000, "pairs": 3000, "text": 24000}[kind]
    assert len({json.dumps(row, sort_keys=True) for row in made}) == len(made)
    for number, row in enumerate(made):
        normalise(kind, row, f"row {number}")
        assert set(row) == set(KINDS[kind].fields)


def test_the_scenes_that_rows_are_made_of_are_for_training() -> None:
    made_of = [
        *(read(row[field]) for row in rows("triplets") for field in ("query", "positive", "negative")),
        *(read(row["text"].split(CONTRASTED)[1]) for row in rows("text") if CONTRASTED in row["text"]),
        *(read(row["context"]) for row in rows("instruct")),
        *(read(row["document"]) for row in rows("pairs")),
        *(read(re.split(r"(?<=\.)[ \n]", row["text"])[0]) for row in rows("text")),
    ]
    assert len(made_of) > 3 * 8000 + 3000 + 3000 + 24000
    assert {scene.split for scene in made_of} == {"train"}
    cores = {(scene.agent, scene.action, scene.patient) for scene in made_of}
    tested = {read(text) for task in STS for text in list(Benchmark("demo", (task,)).texts())[::2]}
    assert {scene.split for scene in tested} == {"dev", "test"}
    assert {(scene.agent, scene.action, scene.patient) for scene in tested} & cores == set()


def test_no_sentence_of_a_test_stands_in_a_row() -> None:
    benchmark = Benchmark("demo", DEMO_TASKS)
    held_out = HeldOutSentences(benchmark.texts())
    questions = set(list(Benchmark("demo", (RETRIEVAL,)).texts())[:200])
    asked: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for kind in ROWS:
        for number, row in enumerate(rows(kind)):
            texts = texts_of(kind, normalise(kind, row, f"row {number}"))
            sentences = [part for text in texts for part in re.split(r"(?<=[.?])[ \n]|: ", text)]
            for sentence in {*texts, *sentences}:
                if held_out.match(sentence):
                    (asked if sentence in questions else said)[kind] += 1
    # A question leaves out who, or whom: two scenes of two splits can ask it, with two answers.
    assert asked.keys() <= {"pairs", "text"}
    assert asked.total() <= 60
    # The second sentence of a test's pair may be of any split, so by chance it is a negative too.
    assert said.keys() <= {"triplets", "text"}
    assert said.total() <= 5
    # Who trains on the demo and measures on it never sees them.
    for kind in ("triplets", "pairs"):
        data = load_training_data(kind, "demo", mapping={}, seed=0, held_out=held_out)
        assert data.dropped["overlap_exact"] == asked[kind] + said[kind]
        assert data.dropped["duplicate"] == data.dropped["overlap_normalised"] == 0


def test_a_triplet_is_a_sentence_its_meaning_in_another_form_and_another_meaning() -> None:
    apart: Counter[int] = Counter()
    reworded = 0
    for row in rows("triplets"):
        query, positive, negative = (read(row[field]) for field in ("query", "positive", "negative"))
        assert query == positive
        assert query != negative
        assert negative.agent != negative.patient
        differences = differing(query, negative)
        apart[1 if len(differences) == 1 or differences == {"agent", "patient"} else len(differences)] += 1
        reworded += not content(row["query"]) & content(row["positive"])
    # Most negatives differ by one edit, the others by several or in all but the polarity.
    assert 0.5 < apart[1] / 8000 < 0.9
    assert set(apart) == {1, 2, 3, 4, 5, 6}
    assert min(apart[2] + apart[3] + apart[4] + apart[5], apart[6]) / 8000 > 0.04
    # Half of the positives have no word of the query's; of the others chance rewords all six parts in 1 of 64.
    assert 0.45 < reworded / 8000 < 0.55


def test_a_pair_is_a_question_and_the_answer_without_a_common_word() -> None:
    for row in rows("pairs"):
        assert answers(row["query"], row["document"])
        assert content(row["query"]) & content(row["document"]) == set()


def test_what_a_question_asks_for_it_does_not_name() -> None:
    named = Counter(tuple(sorted(read_question(row["query"]))) for row in rows("pairs"))
    assert set(named) == {
        ("action", "patient", "place"),
        ("action", "agent", "count", "place"),
        ("action", "agent", "count", "patient", "time"),
    }
    assert min(named.values()) > 900


def test_an_instruction_is_followed() -> None:
    asked: Counter[str] = Counter()
    for row in rows("instruct"):
        scene, told, answer = read(row["context"]), row["instruction"], row["target"]
        asked[told] += 1
        if told == "Say it in other words.":
            assert read(answer) == scene
            assert content(answer) & content(row["context"]) == set()
        elif told == "Who did it, if anybody?":
            assert answer == "Nobody did." if scene.negated else answer.removesuffix(".") in agents(scene)
        elif told == "Whom is it about?":
            whom, _, who = answer.removesuffix(".").partition(", and ")
            assert PEOPLE[whom.removeprefix("The ")] == scene.patient
            assert who in agents(scene)
        elif told == "Where and when?":
            assert answer in {
                f"{p} and {t}." for p in WORD_OF["place"][scene.place] for t in WORD_OF["time"][scene.time]
            }
        elif told == "What was it?":
            assert answer in {f"To {verb} somebody." for verb in WORD_OF["action"][scene.action]}
        else:
            assert (told, answer) == ("Did it take place?", "No." if scene.negated else "Yes.")
    assert asked["Say it in other words."] / 3000 == pytest.approx(2 / 7, abs=0.03)
    assert len(asked) == 6
    assert min(asked.values()) / 3000 == pytest.approx(1 / 7, abs=0.03)


def test_a_text_says_what_is_so() -> None:
    sorts: Counter[str] = Counter()
    for row in rows("text"):
        text = row["text"]
        if RESTATED in text:
            sorts["again"] += 1
            one, other = text.split(RESTATED)
            assert read(one) == read(other)
        elif CONTRASTED in text:
            sorts["unlike"] += 1
            one, other = text.split(CONTRASTED)
            differences = differing(read(one), read(other))
            assert len(differences) == 1 or differences == {"agent", "patient"}
        elif GLOSS in text:
            sorts["gloss"] += 1
            one, word = text.split(GLOSS)
            scene = read(one)
            domain = next(group for group, members in PLACES_OF.items() if scene.place in members)
            assert word.removesuffix("”") in {scene.action, scene.agent, scene.patient, domain}
        elif "?" in text:
            sorts["question"] += 1
            one, question, answer = re.split(r"(?<=[.?]) ", text)
            scene = read(one)
            assert read_question(question).items() <= {(f.name, getattr(scene, f.name)) for f in fields(Scene)}
            nothing = "nowhere" if question.startswith("Where") else "nobody"
            assert _small(answer) in ({nothing} if scene.negated else _right(question, scene))
        else:
            sorts["topic"] += 1
            one, other = re.split(r"(?<=\.) ", text)
            assert differing(read(one), read(other)) == {"agent", "action", "patient", "place", "time", "count"}
    assert set(sorts) == {"again", "unlike", "gloss", "question", "topic"}
    assert min(sorts.values()) > 24000 * 0.04
    assert sorts["again"] > 24000 * 0.3


PLACES_OF = {
    "hospital": {"in the ward", "at the clinic"},
    "kitchen": {"in the kitchen", "at the restaurant"},
    "farm": {"on the field", "in the barn"},
    "court": {"in the courtroom", "in the prison"},
    "harbour": {"on the pier", "aboard the ship"},
    "school": {"in the classroom", "at the library"},
}


def _small(answer: str) -> str:
    return f"{answer[0].lower()}{answer[1:].removesuffix('.')}"


def _right(question: str, scene: Scene) -> set[str]:
    """Return every way to answer a question about a scene that took place."""
    if question.startswith("Where"):
        return set(WORD_OF["place"][scene.place])
    if question.startswith("Who was"):
        return {f"the {noun}" for noun in WORD_OF["patient"][scene.patient]}
    return agents(scene)
