"""The words of the demo: every meaning has two wordings, and belongs to a group of related meanings.

A meaning is known by its first wording. Nouns and places are grouped by domain, actions by their temper; members of one
group are half alike, and nothing else tells which words belong together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Wordings = tuple[str, str]

NOUNS: Mapping[str, tuple[Wordings, ...]] = {
    "hospital": (
        ("doctor", "physician"),
        ("nurse", "caregiver"),
        ("patient", "convalescent"),
        ("dentist", "orthodontist"),
        ("pharmacist", "druggist"),
    ),
    "kitchen": (
        ("cook", "chef"),
        ("waiter", "server"),
        ("baker", "confectioner"),
        ("guest", "diner"),
        ("butcher", "meatcutter"),
    ),
    "farm": (
        ("farmer", "grower"),
        ("shepherd", "herder"),
        ("gardener", "landscaper"),
        ("rider", "horseman"),
        ("miller", "millworker"),
    ),
    "court": (
        ("judge", "magistrate"),
        ("lawyer", "attorney"),
        ("witness", "bystander"),
        ("thief", "burglar"),
        ("guard", "warden"),
    ),
    "harbour": (
        ("sailor", "seafarer"),
        ("captain", "skipper"),
        ("fisher", "angler"),
        ("diver", "frogman"),
        ("pirate", "buccaneer"),
    ),
    "school": (
        ("teacher", "tutor"),
        ("student", "pupil"),
        ("librarian", "archivist"),
        ("professor", "scholar"),
        ("coach", "trainer"),
    ),
}

PLACES: Mapping[str, tuple[Wordings, ...]] = {
    "hospital": (("in the ward", "in the sickroom"), ("at the clinic", "at the infirmary")),
    "kitchen": (("in the kitchen", "near the stove"), ("at the restaurant", "at the bistro")),
    "farm": (("on the field", "on the meadow"), ("in the barn", "in the stable")),
    "court": (("in the courtroom", "before the tribunal"), ("in the prison", "in the jail")),
    "harbour": (("on the pier", "on the dock"), ("aboard the ship", "aboard the vessel")),
    "school": (("in the classroom", "near the blackboard"), ("at the library", "among the bookshelves")),
}

# All regular: the base form, the past and the participle are made by `past`.
ACTIONS: Mapping[str, tuple[Wordings, ...]] = {
    "kind": (("help", "assist"), ("rescue", "save"), ("praise", "commend"), ("comfort", "console")),
    "hostile": (("blame", "accuse"), ("push", "shove"), ("punish", "discipline"), ("deceive", "fool")),
    "speaking": (("greet", "welcome"), ("warn", "alert"), ("phone", "call"), ("question", "interview")),
    "working": (("hire", "employ"), ("train", "instruct"), ("follow", "trail"), ("pay", "remunerate")),
}

TIMES: Mapping[str, tuple[Wordings, ...]] = {
    "day": (("in the morning", "at dawn"), ("at night", "after dark")),
    "year": (("in winter", "in the cold season"), ("in summer", "in the hot season")),
    "week": (("on Monday", "on the first weekday"), ("on Sunday", "at the end of the week")),
}

COUNTS: tuple[Wordings, ...] = (
    ("one", "a single"),
    ("two", "a pair of"),
    ("three", "a trio of"),
    ("four", "a quartet of"),
)


def past(verb: str) -> str:
    """Return the past form, which is also the participle, of a regular verb."""
    irregular = {"pay": "paid"}
    return irregular.get(verb) or (f"{verb}d" if verb.endswith("e") else f"{verb}ed")


def plural(noun: str) -> str:
    """Return the plural of a noun."""
    irregular = {"thief": "thieves", "horseman": "horsemen", "frogman": "frogmen", "witness": "witnesses"}
    return irregular.get(noun) or f"{noun}{'es' if noun.endswith(('s', 'ch')) else 's'}"


def _groups(groups: Mapping[str, tuple[Wordings, ...]]) -> Iterator[tuple[Wordings, str]]:
    for group, members in groups.items():
        for wordings in members:
            yield wordings, group


_ALL = [*_groups(NOUNS), *_groups(PLACES), *_groups(ACTIONS), *_groups(TIMES), *((it, it[0]) for it in COUNTS)]
WORDINGS: Mapping[str, Wordings] = {wordings[0]: wordings for wordings, _ in _ALL}
"""Both wordings of a meaning."""
GROUP: Mapping[str, str] = {wordings[0]: group for wordings, group in _ALL}
"""The group of a meaning; a count is alone in its group."""
