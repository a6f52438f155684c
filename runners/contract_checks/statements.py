"""What a method says of itself: facts, documentation, evidence; and that its configuration survives being written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.kinds import KINDS
from genembench.problem import Problem, did_you_mean
from methods.contract import Facts, Hyper, Method, Recipe, Stage
from methods.registry import MethodEntry
from runners.contract_checks.subject import Broken, Subject

BUILT_IN = "methods/"
"""How the origin of our own methods begins."""
REQUIRED_PRESETS = ("paper", "small")


def facts(subject: Subject) -> str:
    """Facts, hyper-parameters, presets and stages say what a reader has to know."""
    entry = subject.entry
    _facts(entry)
    for field in dataclasses.fields(entry.cls):
        if not str(field.metadata.get("doc", "")).strip():
            raise Broken(
                f"hyper-parameter {field.name} has no documentation",
                f'Declare it with hyper: {field.name}: TYPE = hyper(DEFAULT, "one line that says what it does").',
            )
    values = _presets(entry)
    stages = subject.method().stages()
    names = [_stage(stage) for stage in stages]
    for name in names:
        if names.count(name) > 1:
            raise Broken(f"two stages are called '{name}'", "Give each its own name: seeds and records tell by it.")
    return f"{values} preset value{'' if values == 1 else 's'} with evidence"


def _facts(entry: MethodEntry) -> None:
    stated = getattr(entry.cls, "facts", None)
    if not isinstance(stated, Facts):
        raise Broken(
            f"{entry.cls.__name__} states no facts",
            'Add to the class: facts = Facts(family="…", paper="… or none yet", summary="…").',
        )
    for name in ("family", "paper", "summary", "inference_cost", "parity"):
        value = getattr(stated, name)
        if not (isinstance(value, str) and value.strip()):
            raise Broken(f"facts.{name} is {value!r}", "It must be a short text: tables and records show it.")
    if not isinstance(stated.deviations, tuple) or not all(
        isinstance(each, str) and each.strip() for each in stated.deviations
    ):
        raise Broken(
            f"facts.deviations is {stated.deviations!r}",
            'It must be a tuple of sentences; one sentence needs its comma: ("The text is cut, never the prompt.",).',
        )


def _presets(entry: MethodEntry) -> int:
    """Return the number of values that have evidence."""
    missing = [name for name in REQUIRED_PRESETS if name not in entry.cls.presets]
    if missing and entry.origin.startswith(BUILT_IN):
        raise Broken(f"there is no preset {' and no preset '.join(missing)}", "Every built-in method has both.")
    known = {field.name for field in dataclasses.fields(entry.cls)}
    count = 0
    for preset, values in entry.cls.presets.items():
        if not isinstance(values, Mapping):
            raise Broken(
                f"preset {preset} is {values!r}", 'It must be a table: {"epochs": Hyper(2, "paper, table 3")}.'
            )
        for key, value in values.items():
            if key not in known:
                raise Broken(
                    f"preset {preset} sets {key}, which is no hyper-parameter of {entry.cls.__name__}",
                    f"{did_you_mean(key, known)}Allowed: {', '.join(sorted(known))}.",
                )
            if not (isinstance(value, Hyper) and isinstance(value.evidence, str) and value.evidence.strip()):
                raise Broken(
                    f"preset {preset} does not say where {key} = {getattr(value, 'value', value)!r} comes from",
                    'Write Hyper(VALUE, "paper, table 3"), or "authors\' code", or "our choice: …".',
                )
            count += 1
        entry.create(preset)
    return count


def _stage(stage: Stage) -> str:
    """Return the stage's name."""
    where = type(stage).__name__
    name, data = getattr(stage, "name", None), getattr(stage, "data", None)
    if not (isinstance(name, str) and name):
        raise Broken(f"stage {where} has no name", 'Add to the class: name = "…".')
    if data not in KINDS:
        raise Broken(
            f"stage {name} trains on {data!r}, which is no kind of data",
            f"{did_you_mean(str(data), KINDS)}Add to the class: data = one of {', '.join(KINDS)}.",
        )
    if stage.loss_kind not in ("additive", "joint"):
        raise Broken(
            f"stage {name} has loss_kind {stage.loss_kind!r}",
            "Allowed: additive (forward returns the loss) and joint (joint_loss computes it, of the whole batch).",
        )
    if not isinstance(stage.recipe, Recipe):
        raise Broken(f"stage {name}: recipe is {stage.recipe!r}", "It must be a Recipe, and a property, not a method.")
    return name


def configuration(subject: Subject) -> str:
    """Every preset's configuration is the same after JSON, and after ``--set`` has read it as text."""
    entry = subject.entry
    for preset in ("default", *entry.cls.presets):
        _through_json(entry, preset)
        _through_text(entry, preset)
    return (
        f"{len(dataclasses.fields(entry.cls))} hyper-parameters, presets: {', '.join(('default', *entry.cls.presets))}"
    )


def _through_json(entry: MethodEntry, preset: str) -> None:
    method = entry.create(preset)
    config = method.config()
    unsaid = {field.name for field in dataclasses.fields(method)} ^ set(config)
    if unsaid:
        raise Broken(
            f"config() and the hyper-parameters differ in {', '.join(sorted(unsaid))}",
            "Do not override config: every field is a hyper-parameter, and whatever shapes a vector is a field.",
        )
    for key, value in config.items():
        try:
            back = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise _not_plain(preset, key, value, f"JSON cannot hold it ({error})") from None
        if back != value:
            raise _not_plain(preset, key, value, f"comes back from JSON as {back!r}")
    again = entry.cls(**json.loads(json.dumps(config)))
    _same(method, again, f"preset {preset}: made from its own configuration")


def _not_plain(preset: str, key: str, value: Any, why: str) -> Broken:
    return Broken(
        f"preset {preset}: {key} = {value!r} {why}",
        "A hyper-parameter is a number, a text, a truth value or None. A path can be given as its text, several "
        'values as one text such as "4,8,16".',
    )


def _through_text(entry: MethodEntry, preset: str) -> None:
    method = entry.create(preset)
    for key in _free(entry):
        value = getattr(method, key)
        hint = "--set reads text; it can make an int, a float, a str, a bool or one of a Literal of texts. Use one."
        try:
            again = entry.create(preset, {key: str(value)})
        except Problem as problem:
            raise Broken(f"--set {entry.name}.{key}={value} is refused: {problem.what}", hint) from None
        if getattr(again, key) != value:
            raise Broken(f"--set {entry.name}.{key}={value} gives {getattr(again, key)!r}, not {value!r}", hint)


def _free(entry: MethodEntry) -> Iterable[str]:
    return [field.name for field in dataclasses.fields(entry.cls) if field.name not in entry.fixed]


def _same(method: Method, again: Method, how: str) -> None:
    for field in dataclasses.fields(method):
        one, other = getattr(method, field.name), getattr(again, field.name)
        if one != other:
            raise Broken(
                f"{how}, {field.name} is {other!r} and was {one!r}",
                "__post_init__ must leave the values as they are; derive others in a property.",
            )
