"""``--tune``: which values of which hyper-parameters every method tries. Nothing here runs."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from benchmarks.budget import Budget, parse_budgets
from genembench.problem import Problem, did_you_mean, unknown
from runners.options import FROM_PRESET, words

if TYPE_CHECKING:
    from runners.prepare import Chosen

LEARNING_RATES = "lr"
"""Stands for all learning rates of a method, set together."""

_EXAMPLE = "Example: --tune lr=1e-4,3e-4,1e-3, or --tune infonce-mean.temperature=0.02,0.05 for one method."


@dataclass(frozen=True)
class Axis:
    """Hyper-parameters that are set together, and the values they are set to, as given."""

    keys: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One setting of one method.

    Attributes:
        method: The method's name.
        number: From 1, in the order given; the last axis changes fastest.
        values: What is tried, by hyper-parameter, as given.
        chosen: The method with these values.
    """

    method: str
    number: int
    values: Mapping[str, str]
    chosen: Chosen

    @property
    def label(self) -> str:
        """The values in one line."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())


def add_tune_options(parser: argparse.ArgumentParser) -> None:
    """Options of choosing hyper-parameters."""
    parser.add_argument(
        "--tune",
        action="append",
        default=[],
        metavar="[METHOD.]KEY=A,B,...",
        help="choose on held-out triplets, as often for every method; lr=A,B,... is every learning rate",
    )
    parser.add_argument("--tune-budget", metavar="N|KIND=N,...", help="of each trial (default: the smallest budget)")


def tune_budget(given: str | None, budgets: Sequence[Budget], needed: Iterable[str]) -> Budget:
    """Return what each trial trains on: what was given, or the comparison's smallest budget.

    Raises:
        Problem: several were given, or none of the comparison.
    """
    if given is not None:
        found = parse_budgets([given])
        if len(found) > 1:
            raise Problem(
                f"--tune-budget {given} is {len(found)} budgets", "Every trial has the same: give one, as in 2000."
            )
        return found[0]
    kinds = tuple(needed)
    return min(budgets, key=lambda budget: sum(budget.cap(kind) for kind in kinds))


def read_axes(
    options: argparse.Namespace, chosen: Sequence[Chosen], taken: Mapping[str, Iterable[str]]
) -> dict[str, list[Axis]]:
    """Read what was given as ``--tune``: for each method that trains, its axes in the order given.

    Args:
        options: ``tune`` holds ``KEY=A,B`` and ``METHOD.KEY=A,B``; ``lr`` for KEY is every learning rate. Settings of a
            preset file that are tuned are taken out of ``set``: nothing would use them, and they would be refused
            where the options are read again.
        chosen: All methods of the comparison.
        taken: By method, the hyper-parameters that ``--set`` gives.

    Raises:
        Problem: not of that form, a method or hyper-parameter that is not there, one that is given twice, or no
            triplets.
    """
    axes = axes_of(options.tune, chosen, taken)
    if not options.triplets:
        raise Problem("--tune chooses on held-out triplets, and none were given", "Add --triplets FILE.")
    tuned = {f"{name}.{key}" for name, each in axes.items() for axis in each for key in axis.keys}
    for name in ("set", FROM_PRESET):
        kept = [setting for setting in getattr(options, name, ()) if setting.partition("=")[0] not in tuned]
        setattr(options, name, kept)
    return axes


def axes_of(
    specs: Sequence[str], chosen: Sequence[Chosen], taken: Mapping[str, Iterable[str]]
) -> dict[str, list[Axis]]:
    """Read the values of ``--tune``; see `read_axes`."""
    trained = {choice.name: entry for choice, entry, method in chosen if method.needs}
    if not trained:
        names = ", ".join(choice.name for choice, _, _ in chosen) or "finished models only"
        raise Problem(
            f"--tune was given, and no method of this comparison trains: {names}",
            "Add one that does (see `genembench methods`), or leave out --tune.",
        )
    free = {name: [f.name for f in fields(entry.cls) if f.name not in entry.fixed] for name, entry in trained.items()}
    axes: dict[str, list[Axis]] = {name: [] for name in trained}
    for spec in specs:
        target, equals, listed = spec.partition("=")
        method, dot, key = target.strip().rpartition(".")
        values = tuple(words(listed))
        if not (equals and key and values) or (dot and not method):
            raise Problem(f"--tune {spec}: not of the form KEY=A,B,... or METHOD.KEY=A,B,...", _EXAMPLE)
        if method not in ("", "*", *trained):
            idle = method in {choice.name for choice, _, _ in chosen}
            raise Problem(
                f"--tune {spec}: method '{method}' " + ("trains nothing" if idle else "takes no part"),
                f"{did_you_mean(method, trained)}Tuned can be: {', '.join(trained)}.",
            )
        asked = [method] if method in trained else list(trained)
        keys = {name: _keys(key, free[name]) for name in asked}
        if not any(keys.values()):
            # What a name fixes is the registry's to refuse, with its reason.
            if method not in trained or key not in {f.name for f in fields(trained[method].cls)}:
                known = {LEARNING_RATES}.union(*(free[name] for name in asked))
                raise unknown(f"hyper-parameter in --tune {spec}:", key, known)
            keys = {method: (key,)}
        for name in asked:
            if keys[name]:
                _refuse_twice(spec, name, keys[name], axes[name], taken.get(name, ()))
                axes[name].append(Axis(keys[name], values))
    return axes


def _keys(key: str, free: Sequence[str]) -> tuple[str, ...]:
    if key in free:
        return (key,)
    if key == LEARNING_RATES:
        return tuple(name for name in free if name == "learning_rate" or name.endswith("_learning_rate"))
    return ()


def _refuse_twice(spec: str, method: str, keys: Iterable[str], before: Iterable[Axis], taken: Iterable[str]) -> None:
    for key in keys:
        if key in set(taken):
            raise Problem(f"--tune {spec}: {method}.{key} is given by --set too", "Leave out one of the two.")
        if any(key in axis.keys for axis in before):
            raise Problem(f"--tune {spec}: {method}.{key} is tuned already", "Give all of its values in one --tune.")


def make_trials(axes: Mapping[str, Sequence[Axis]], chosen: Sequence[Chosen]) -> list[Trial]:
    """Return every combination of each method's values, method by method.

    Raises:
        Problem: a value that cannot be, the same setting twice, or methods with different numbers of trials.
    """
    trials: list[Trial] = []
    for choice, entry, _ in chosen:
        if not axes.get(choice.name):
            continue
        first = len(trials)
        for number, values in enumerate(itertools.product(*(axis.values for axis in axes[choice.name])), 1):
            tried = {key: value for axis, value in zip(axes[choice.name], values, strict=True) for key in axis.keys}
            overrides = {**choice.overrides, **tried}
            method = entry.create(choice.preset, overrides)
            for stage in method.stages():
                _ = stage.recipe  # refuses numbers that cannot be trained with
            trial = Trial(choice.name, number, tried, (replace(choice, overrides=overrides), entry, method))
            for other in trials[first:]:
                if other.chosen[2].config() == method.config():
                    raise Problem(
                        f"--tune: two trials of {choice.name} are the same, {other.label} and {trial.label}",
                        "Give each value once.",
                    )
            trials.append(trial)
    counts = {name: sum(trial.method == name for trial in trials) for name in axes}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Problem(
            f"--tune gives the methods different numbers of trials: {listed}",
            "Equal tuning is as many trials for every method: give each as many values, with --tune METHOD.KEY=A,B,... "
            "for what only some have, or leave a method out.",
        )
    return trials
