from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, replace
from itertools import islice, product
from random import Random

import pytest

from benchmarks.demo import scenes, words
from benchmarks.demo.scenes import Scene
from benchmarks.demo.surface import (
    FORMS,
    Style,
    count_text,
    other_form,
    partly_reworded,
    random_style,
    reworded,
    say,
)
from tests.benchmarks.demo.reading import content, readings

HERE = Scene(agent="doctor", action="help", patient="judge", place="in the ward", time="at night", count="two")
THERE = Scene(agent="thief", action="pay", patient="rider", place="at the library", time="on Monday", count="one")


def style(form: int, wording: int = 0, negation: int = 0) -> Style:
    return Style(form, wording, wording, wording, wording, wording, wording, negation)


@pytest.mark.parametrize(
    ("scene", "how", "sentence"),
    [
        # Several, affirmed, first wordings.
        (HERE, style(0), "Two doctors helped the judge in the ward at night."),
        (HERE, style(1), "The judge was helped by two doctors in the ward at night."),
        (HERE, style(2), "At night, two doctors helped the judge in the ward."),
        (HERE, style(3), "It was two doctors who helped the judge in the ward at night."),
        (HERE, style(4), "In the ward, the judge was helped by two doctors at night."),
        (HERE, style(5), "In the ward and at night, two doctors helped the judge."),
        # The same in the second wordings.
        (HERE, style(0, 1), "A pair of physicians assisted the magistrate in the sickroom after dark."),
        (HERE, style(1, 1), "The magistrate was assisted by a pair of physicians in the sickroom after dark."),
        (HERE, style(2, 1), "After dark, a pair of physicians assisted the magistrate in the sickroom."),
        (HERE, style(3, 1), "It was a pair of physicians who assisted the magistrate in the sickroom after dark."),
        (HERE, style(4, 1), "In the sickroom, the magistrate was assisted by a pair of physicians after dark."),
        (HERE, style(5, 1), "In the sickroom and after dark, a pair of physicians assisted the magistrate."),
        # Negated, both ways.
        (replace(HERE, negated=True), style(0), "Two doctors did not help the judge in the ward at night."),
        (replace(HERE, negated=True), style(1), "The judge was not helped by two doctors in the ward at night."),
        (replace(HERE, negated=True), style(2), "At night, two doctors did not help the judge in the ward."),
        (replace(HERE, negated=True), style(3), "It was two doctors who did not help the judge in the ward at night."),
        (replace(HERE, negated=True), style(4), "In the ward, the judge was not helped by two doctors at night."),
        (replace(HERE, negated=True), style(5), "In the ward and at night, two doctors did not help the judge."),
        (replace(HERE, negated=True), style(0, 0, 1), "Two doctors never helped the judge in the ward at night."),
        (
            replace(HERE, negated=True),
            style(1, 0, 1),
            "The judge was never helped by two doctors in the ward at night.",
        ),
        (replace(HERE, negated=True), style(2, 0, 1), "At night, two doctors never helped the judge in the ward."),
        (
            replace(HERE, negated=True),
            style(3, 0, 1),
            "It was two doctors who never helped the judge in the ward at night.",
        ),
        (
            replace(HERE, negated=True),
            style(4, 0, 1),
            "In the ward, the judge was never helped by two doctors at night.",
        ),
        (replace(HERE, negated=True), style(5, 0, 1), "In the ward and at night, two doctors never helped the judge."),
        # One agent, an irregular verb and an irregular plural.
        (THERE, style(0), "One thief paid the rider at the library on Monday."),
        (THERE, style(1), "The rider was paid by one thief at the library on Monday."),
        (THERE, style(2), "On Monday, one thief paid the rider at the library."),
        (THERE, style(3), "It was one thief who paid the rider at the library on Monday."),
        (THERE, style(4), "At the library, the rider was paid by one thief on Monday."),
        (THERE, style(5), "At the library and on Monday, one thief paid the rider."),
        (THERE, style(0, 1), "A single burglar remunerated the horseman among the bookshelves on the first weekday."),
        (THERE, style(2, 1), "On the first weekday, a single burglar remunerated the horseman among the bookshelves."),
        (replace(THERE, negated=True), style(0), "One thief did not pay the rider at the library on Monday."),
        (
            replace(THERE, negated=True),
            style(1, 0, 1),
            "The rider was never paid by one thief at the library on Monday.",
        ),
        (replace(THERE, count="three"), style(3), "It was three thieves who paid the rider at the library on Monday."),
        (
            replace(THERE, agent="rider", patient="thief", count="four", negated=True),
            style(5, 1, 1),
            "Among the bookshelves and on the first weekday, a quartet of horsemen never remunerated the burglar.",
        ),
        # Wordings mixed part by part: agent 1, action 0, patient 1, place 0, time 1, count 0.
        (HERE, Style(2, 1, 0, 1, 0, 1, 0, 0), "After dark, two physicians helped the magistrate in the ward."),
        (
            THERE,
            Style(4, 0, 1, 0, 1, 0, 1, 0),
            "Among the bookshelves, the rider was remunerated by a single thief on Monday.",
        ),
    ],
)
def test_sentences(scene: Scene, how: Style, sentence: str) -> None:
    assert say(scene, how) == sentence


PLURALS = """
doctors physicians nurses caregivers patients convalescents dentists orthodontists pharmacists druggists
cooks chefs waiters servers bakers confectioners guests diners butchers meatcutters
farmers growers shepherds herders gardeners landscapers riders horsemen millers millworkers
judges magistrates lawyers attorneys witnesses bystanders thieves burglars guards wardens
sailors seafarers captains skippers fishers anglers divers frogmen pirates buccaneers
teachers tutors students pupils librarians archivists professors scholars coaches trainers
"""
PAST = """
helped assisted rescued saved praised commended comforted consoled
blamed accused pushed shoved punished disciplined deceived fooled
greeted welcomed warned alerted phoned called questioned interviewed
hired employed trained instructed followed trailed paid remunerated
"""


def test_every_plural_and_every_past() -> None:
    nouns = [noun for members in words.NOUNS.values() for wordings in members for noun in wordings]
    verbs = [verb for members in words.ACTIONS.values() for wordings in members for verb in wordings]
    assert [words.plural(noun) for noun in nouns] == PLURALS.split()
    assert [words.past(verb) for verb in verbs] == PAST.split()
    assert count_text(replace(HERE, agent="witness", count="four"), style(0)) == "four witnesses"
    assert count_text(replace(HERE, agent="diver", count="three"), style(0, 1)) == "a trio of frogmen"
    assert count_text(replace(HERE, agent="diver", count="one"), style(0, 1)) == "a single frogman"


def test_no_word_of_one_meaning_is_a_wording_of_another() -> None:
    groups = (words.NOUNS, words.PLACES, words.ACTIONS, words.TIMES, {"count": words.COUNTS})
    meanings = [wordings for each in groups for members in each.values() for wordings in members]
    assert [sum(map(len, each.values())) for each in groups] == [30, 12, 16, 6, 4]
    written: Counter[str] = Counter()
    tokens: dict[str, set[str]] = {}
    for wordings in meanings:
        written.update(wordings)
        surface = {*wordings, *(inflect(word) for word in wordings for inflect in _inflections(wordings))}
        for token in set().union(*(content(form) for form in surface)):
            tokens.setdefault(token, set()).add(wordings[0])
    assert {word for word, times in written.items() if times > 1} == set()
    assert len(words.WORDINGS) == len(words.GROUP) == len(meanings) == 68
    # Not even a token, inflected forms included: "trained" is no trainer, "calls" nobody.
    assert {token: of for token, of in tokens.items() if len(of) > 1} == {}


def _inflections(wordings: words.Wordings) -> list[Callable[[str], str]]:
    if any(wordings in members for members in words.NOUNS.values()):
        return [words.plural]
    return [words.past] if any(wordings in members for members in words.ACTIONS.values()) else []


def test_a_sentence_can_be_read_in_one_way_only() -> None:
    # Thousands of scenes in styles at random: nothing that is said could have been said of another scene.
    source = Random("readings")
    seen: set[tuple[int, ...]] = set()
    for scene in (*islice(scenes.scenes("a", "train"), 3000), *islice(scenes.scenes("a", "test"), 1000)):
        how = random_style(source)
        sentence = say(scene, how)
        assert readings(sentence) == [(how.form, scene)], sentence
        assert sentence[0].isupper()
        assert sentence.count(".") == 1
        assert "  " not in sentence
        seen.add(astuple(how))
    assert len(seen) > FORMS * 2**7 * 0.9


def test_every_word_can_be_read_back() -> None:
    # Every meaning once in each of its parts, every style: 6 forms times 2 wordings of 7 parts.
    people = [it[0] for members in words.NOUNS.values() for it in members]
    parts = {
        "agent": people,
        "action": [it[0] for members in words.ACTIONS.values() for it in members],
        "patient": people,
        "place": [it[0] for members in words.PLACES.values() for it in members],
        "time": [it[0] for members in words.TIMES.values() for it in members],
        "count": [it[0] for it in words.COUNTS],
    }
    for part, meanings in parts.items():
        for meaning, form, wording, negated in product(meanings, range(FORMS), (0, 1), (False, True)):
            scene = replace(HERE, negated=negated, **{part: meaning})
            if scene.agent != scene.patient:
                assert readings(say(scene, style(form, wording, wording))) == [(form, scene)]


def test_in_one_style_different_scenes_are_different_sentences() -> None:
    drawn = list(islice(scenes.scenes("b", "train"), 3000))
    for form in range(FORMS):
        assert len({say(scene, style(form, form % 2)) for scene in drawn}) == 3000


def test_styles() -> None:
    source = Random("styles")
    forms: Counter[int] = Counter()
    same_negation = partly = 0
    for scene in islice(scenes.scenes("c", "train"), 400):
        how = random_style(source)
        again, turned, mixed = reworded(how, source), other_form(how, source), partly_reworded(how, source)
        assert how.form not in (again.form, turned.form, mixed.form)
        assert content(say(scene, how)) & content(say(scene, again)) == set()
        assert astuple(turned)[1:] == astuple(how)[1:]
        assert [one + other for one, other in zip(astuple(again)[1:], astuple(how)[1:], strict=True)] == [1] * 7
        forms[again.form] += 1
        same_negation += mixed.negation == how.negation
        partly += mixed.agent == how.agent
    assert set(forms) == set(range(FORMS))
    assert 170 < same_negation < 230
    assert 170 < partly < 230
