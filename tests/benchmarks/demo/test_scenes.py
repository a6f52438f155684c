from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import islice, pairwise, product
from random import Random

import pytest

from benchmarks.demo import scenes
from benchmarks.demo.scenes import Scene, Split, similarity
from benchmarks.demo.words import ACTIONS, COUNTS, GROUP, NOUNS

# Hospital, kind, hospital, hospital, year, two.
HERE = Scene(agent="doctor", action="help", patient="nurse", place="in the ward", time="in winter", count="two")


def changed(one: Scene, other: Scene) -> set[str]:
    """Return the names of the parts in which two scenes differ."""
    return {field.name for field in fields(Scene) if getattr(one, field.name) != getattr(other, field.name)}


# The weights are action 3, agent 2, patient 2, count 1, place 1, time 1 tenths; a related word counts 0.4 of its part,
# the other polarity leaves 0.4 of the whole.
@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        pytest.param({}, 5.0, id="the same"),
        pytest.param({"agent": "nurse", "patient": "doctor"}, 3.0, id="roles swapped, though both are of the hospital"),
        pytest.param({"negated": True}, 2.0, id="negated"),
        pytest.param({"agent": "pharmacist"}, 4.4, id="another agent of the domain: 5 (1 - 0.2 x 0.6)"),
        pytest.param({"agent": "judge"}, 4.0, id="an agent of another domain"),
        pytest.param({"patient": "dentist"}, 4.4, id="another patient of the domain"),
        pytest.param({"patient": "judge"}, 4.0, id="a patient of another domain"),
        pytest.param({"patient": "doctor", "agent": "judge"}, 3.4, id="half a swap is none: 5 (0.6 + 0.2 x 0.4)"),
        pytest.param({"action": "rescue"}, 4.1, id="another kind action: 5 (1 - 0.3 x 0.6)"),
        pytest.param({"action": "push"}, 3.5, id="a hostile action"),
        pytest.param({"count": "three"}, 4.5, id="another count is not related"),
        pytest.param({"place": "at the clinic"}, 4.7, id="the other place of the domain: 5 (1 - 0.1 x 0.6)"),
        pytest.param({"place": "in the barn"}, 4.5, id="a place elsewhere"),
        pytest.param({"time": "in summer"}, 4.7, id="another time of the year"),
        pytest.param({"time": "at night"}, 4.5, id="a time of day"),
        pytest.param({"negated": True, "count": "one"}, 1.8, id="negated and another count: 4.5 x 0.4"),
        pytest.param({"negated": True, "agent": "nurse", "patient": "doctor"}, 1.2, id="negated and swapped: 3 x 0.4"),
        pytest.param(
            {
                "agent": "dentist",
                "action": "praise",
                "patient": "patient",
                "place": "at the clinic",
                "time": "in summer",
                "count": "four",
            },
            1.8,
            id="all related but the count: 5 x 0.9 x 0.4",
        ),
        pytest.param(
            {
                "agent": "judge",
                "action": "push",
                "patient": "cook",
                "place": "in the barn",
                "time": "at night",
                "count": "one",
            },
            0.0,
            id="nothing in common",
        ),
    ],
)
def test_similarity(difference: dict[str, str | bool], expected: float) -> None:
    other = replace(HERE, **difference)  # type: ignore[arg-type]
    assert similarity(HERE, other) == similarity(other, HERE) == expected


def test_two_negated_scenes_are_compared_as_two_affirmed_ones() -> None:
    other = replace(HERE, count="one")
    assert similarity(replace(HERE, negated=True), replace(other, negated=True)) == similarity(HERE, other) == 4.5


def test_similarity_is_symmetric_and_from_0_to_5_and_5_for_equal_scenes_only() -> None:
    drawn = list(islice(scenes.scenes("a", "train"), 3000))
    pairs = [*pairwise(drawn), *((scene, scenes.negate(scene, Random(0))) for scene in drawn)]
    found = [similarity(one, other) for one, other in pairs]
    assert found == [similarity(other, one) for one, other in pairs]
    assert 0 <= min(found) < max(found) < 5
    assert {similarity(scene, scene) for scene in drawn} == {5.0}
    assert sum(scenes.WEIGHTS.values()) == pytest.approx(1.0, abs=1e-12)


# The byte is what `printf 'doctor help judge' | b2sum -l 8` says: of 256, the first 20 % (to 0x33) are test, the next
# 10 % (to 0x4c) are dev.
@pytest.mark.parametrize(
    ("core", "byte", "split"),
    [
        ("doctor help farmer", 0x01, "test"),
        ("thief pay judge", 0x12, "test"),
        ("coach help judge", 0x3D, "dev"),
        ("cook help judge", 0x4C, "dev"),
        ("nurse help judge", 0x54, "train"),
        ("cook pay judge", 0xF4, "train"),
    ],
)
def test_the_split_is_a_hash_of_who_did_what_to_whom(core: str, byte: int, split: Split) -> None:
    agent, action, patient = core.split()
    assert split == ("test" if byte <= 0x33 else "dev" if byte <= 0x4C else "train")
    for negated, count in product((False, True), ("one", "four")):
        scene = replace(HERE, agent=agent, action=action, patient=patient, negated=negated, count=count)
        assert scene.split == split


def test_of_all_cores_seven_tenths_are_for_training() -> None:
    people = [it[0] for members in NOUNS.values() for it in members]
    actions = [it[0] for members in ACTIONS.values() for it in members]
    cores = [(one, action, other) for one, action, other in product(people, actions, people) if one != other]
    assert len(cores) == 30 * 16 * 29
    found = Counter(replace(HERE, agent=one, action=action, patient=other).split for one, action, other in cores)
    shares = {split: found[split] / len(cores) for split in ("train", "dev", "test")}
    # 52, 25 and 179 of 256 bytes.
    assert shares == pytest.approx({"test": 52 / 256, "dev": 25 / 256, "train": 179 / 256}, abs=0.015)


def test_a_stream_holds_different_scenes_of_its_split_only_and_depends_on_its_seed_only() -> None:
    splits: tuple[Split, ...] = ("train", "dev", "test")
    for split in splits:
        drawn = list(islice(scenes.scenes("a", split), 1500))
        assert {scene.split for scene in drawn} == {split}
        assert len(set(drawn)) == 1500
        assert all(scene.agent != scene.patient for scene in drawn)
        assert drawn == list(islice(scenes.scenes("a", split), 1500))
        assert len(set(drawn) & set(islice(scenes.scenes("b", split), 1500))) < 150
        # One in five is negated, nearly all words are used: three standard deviations are 0.031.
        assert sum(scene.negated for scene in drawn) / 1500 == pytest.approx(0.2, abs=0.031)
        assert {scene.count for scene in drawn} == {it[0] for it in COUNTS}
        assert len({scene.action for scene in drawn}) == 16
        assert len({scene.agent for scene in drawn}) == len({scene.patient for scene in drawn}) == 30


def test_people_of_one_domain_meet_more_often_than_not() -> None:
    drawn = list(islice(scenes.scenes("a", "train"), 2000))
    together = sum(GROUP[scene.agent] == GROUP[scene.patient] for scene in drawn) / 2000
    # Of the same domain three times in four, else of any of six, less those who would meet themselves:
    # 0.25 x 5/6 = 0.208 elsewhere against 0.792 x 4/5 = 0.633 at home.
    assert together == pytest.approx(0.633 / (0.633 + 0.208), abs=0.03)


EDITS: dict[scenes.Edit, set[str]] = {
    scenes.swap_roles: {"agent", "patient"},
    scenes.negate: {"negated"},
    scenes.recount: {"count"},
    scenes.change_action: {"action"},
    scenes.change_agent: {"agent"},
    scenes.change_patient: {"patient"},
    scenes.change_frame: {"place", "time"},
}


def drawn_and_edited(edit: scenes.Edit) -> Iterator[tuple[Scene, Scene]]:
    source = Random("edits")
    for scene in islice(scenes.scenes("edits", "train"), 500):
        yield scene, edit(scene, source)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_changes_what_it_is_called_after_and_nothing_else(edit: scenes.Edit) -> None:
    for before, after in drawn_and_edited(edit):
        assert changed(before, after) == EDITS[edit]
        assert after.agent != after.patient
        if edit in (scenes.change_agent, scenes.change_patient):
            assert GROUP[before.agent] == GROUP[after.agent]
            assert GROUP[before.patient] == GROUP[after.patient]


def test_who_changes_places_does_so_twice_to_be_back() -> None:
    for before, after in drawn_and_edited(scenes.swap_roles):
        assert (after.agent, after.patient) == (before.patient, before.agent)


def test_a_scene_of_the_same_topic_shares_no_word_and_half_of_the_groups() -> None:
    shared: Counter[str] = Counter()
    for before, after in drawn_and_edited(scenes.same_topic):
        assert changed(before, after) == {"agent", "action", "patient", "place", "time", "count"}
        people = {before.agent, before.patient, after.agent, after.patient}
        assert len(people) == 4
        shared.update(part for part in ("action", "place", "time") if _related(before, after, part))
    # 500 throws of a coin: three standard deviations are 0.067.
    assert {part: count / 500 for part, count in shared.items()} == pytest.approx(
        {"action": 0.5, "place": 0.5, "time": 0.5}, abs=0.067
    )


def _related(one: Scene, other: Scene, part: str) -> bool:
    return GROUP[getattr(one, part)] == GROUP[getattr(other, part)]
