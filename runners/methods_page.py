"""The page of all methods, in Markdown: what their code says of itself, so that it cannot say anything else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from methods.contract import Hyper, Method, Recipe, Stage
from methods.registry import MethodEntry
from runners.markdown_text import code, prose, table, value
from runners.method_facts import attention, chain, first_words, headline, objective, pooling, reading, template

COMMAND = "genembench methods --markdown > docs/methods.md"
OVERVIEW = ("Method", "Family", "Paper", "Stages (data)", "Attention", "Read-out", "Trained", "Inference", "Parity")
SAME = "="
LONG = 24
"""Characters of a value from which on a preset's cell does not repeat the default."""


def page(entries: Iterable[MethodEntry]) -> str:
    """Return the whole page: an overview with a row for each name, then a section for each class."""
    classes: dict[type[Method], list[MethodEntry]] = {}
    # Stacked decorators register from the bottom up; a class names its main method first.
    for entry in reversed(list(entries)):
        classes.setdefault(entry.cls, []).append(entry)
    families = sorted(classes.values(), key=lambda siblings: (siblings[0].cls.facts.family, siblings[0].name))
    recipe = Recipe(learning_rate=1, batch_size=1)
    return "\n\n".join(
        [
            "# Methods",
            f"Made from the code by `{COMMAND}`; a test holds it to the code, so mend the code and make it again. "
            "`genembench methods NAME` says the same of one method.",
            table(OVERVIEW, [_overview(entry) for siblings in families for entry in siblings]),
            "- **Trained** is with a method's first preset, `paper` for all of ours.\n"
            "- **Parity**: what is held to numbers of the authors' own code, and how closely; more in each section.\n"
            "- **Evidence** says where a preset's value comes from: the paper, the authors' code, or our choice where "
            f"both are silent or meant for other sizes. `{SAME}`: value and evidence of the preset to the left. "
            "*default*: as the default; without evidence, the preset does not state it.\n"
            "- **Loss**: an *additive* one is a sum over examples or tokens; a *joint* one compares all examples of "
            "the global batch.\n"
            f"- **Optimiser**: AdamW with betas {recipe.betas[0]:g} and {recipe.betas[1]:g}, eps {value(recipe.eps)}, "
            f"weight decay {recipe.weight_decay:g}, gradients clipped to norm {recipe.clip_norm:g}, unless a table "
            "says otherwise. Batches are global, whatever the micro-batch; warm-up is a share of the stage's steps.",
            *map(_section, families),
        ]
    )


def _overview(entry: MethodEntry) -> list[str]:
    method, facts = entry.create(_first_preset(entry)), entry.cls.facts
    trained = {stage.name: stage.trains.split(";")[0] for stage in method.stages()}
    if len(set(trained.values())) == 1:
        trained = {"": next(iter(trained.values()))}
    return [
        f"[`{entry.name}`](#{entry.cls.__name__.lower()})",
        *map(prose, (facts.family, facts.paper, chain(method), attention(method))),
        code(method.readout_kind),
        prose("; ".join(f"{name}: {text}".removeprefix(": ") for name, text in trained.items()) or "nothing"),
        *map(prose, (facts.inference_cost, headline(facts.parity))),
    ]


def _section(siblings: Sequence[MethodEntry]) -> str:
    first, facts = siblings[0], siblings[0].cls.facts
    made = {preset: {e.name: e.create(preset) for e in siblings} for preset in ("default", *first.cls.presets)}
    methods = made[_first_preset(first)]

    def said(say: Callable[[Method], str]) -> str:
        return _grouped({name: say(method) for name, method in methods.items()})

    lines = {
        "In short": facts.summary,
        "Paper": facts.paper,
        "Family": facts.family,
        "Code": first.origin,
        "Text": said(template),
        "Added tokens": said(lambda method: ", ".join(f"`{token}`" for token in method.new_tokens)),
        "Attention": said(attention),
        "Read-out": " ".join(dict.fromkeys(map(reading, methods.values()))),
        "Pooling": said(pooling),
        "Inference": facts.inference_cost,
        "Parity": facts.parity,
    }
    parts = [
        f"## {first.cls.__name__}",
        prose(first_words(first.cls)),
        "\n".join(f"- **{name}**: {prose(text)}" for name, text in lines.items() if text),
        "**What the names fix**",
        _names(siblings, methods),
    ]
    if any(method.stages() for method in methods.values()):
        parts += ["**Stages**", _stages(methods), "**How each stage is trained, by preset**", _recipes(made)]
    parts += ["**Hyper-parameters**", _hyper(siblings, made)]
    if facts.deviations:
        parts += [
            "**Deviations from the paper and the authors' code**",
            "\n".join(f"- {prose(each)}" for each in facts.deviations),
        ]
    return "\n\n".join(part for part in parts if part)


def _names(siblings: Sequence[MethodEntry], methods: Mapping[str, Method]) -> str:
    keys = list(dict.fromkeys(key for entry in siblings for key in entry.fixed))
    rows = []
    for entry in siblings:
        fixed = [value(entry.fixed[key]) if key in entry.fixed else "by preset" for key in keys]
        rows.append([code(entry.name), *fixed, prose(chain(methods[entry.name]))])
    return table(["Name", *map(code, keys), "Stages (data)"], rows)


def _stages(methods: Mapping[str, Method]) -> str:
    rows = []
    for name, stages in _by_name(methods).items():
        first = next(iter(stages.values()))
        loss = _grouped({each: stage.loss_kind for each, stage in stages.items()})
        rows.append([code(name), first.data, prose(loss), prose(objective(first))])
    return table(["Stage", "Data", "Loss", "Objective"], rows)


def _by_name(methods: Mapping[str, Method]) -> dict[str, dict[str, Stage]]:
    """Return the stage of each name, as each method that has it holds it."""
    found: dict[str, dict[str, Stage]] = {}
    stages = {name: method.stages() for name, method in methods.items()}
    for name in sorted(stages, key=lambda name: -len(stages[name])):
        for stage in stages[name]:
            found.setdefault(stage.name, {})[name] = stage
    return found


def _recipes(made: Mapping[str, Mapping[str, Method]]) -> str:
    rows = []
    for preset in [preset for preset in made if preset != "default"] or ["default"]:
        for name, stages in _by_name(made[preset]).items():
            recipes = {each: stage.recipe for each, stage in stages.items()}

            def of(say: Callable[[Recipe], str], recipes: Mapping[str, Recipe] = recipes) -> str:
                return _grouped({each: say(recipe) for each, recipe in recipes.items()})

            rows.append(
                [
                    code(preset),
                    code(name),
                    prose(_grouped({each: stage.trains for each, stage in stages.items()})),
                    of(lambda recipe: value(recipe.learning_rate)),
                    of(lambda recipe: value(recipe.batch_size)),
                    of(lambda recipe: value(recipe.epochs)),
                    of(_schedule),
                ]
            )
    return table(["Preset", "Stage", "Trains", "Learning rate", "Global batch", "Epochs", "Schedule"], rows)


def _schedule(recipe: Recipe) -> str:
    usual = {field.name: field.default for field in dataclasses.fields(Recipe)}
    others = [name for name in ("weight_decay", "betas", "eps", "clip_norm") if getattr(recipe, name) != usual[name]]
    warmup = f"warm-up {recipe.warmup:.3g}" if recipe.warmup else "no warm-up"
    return ", ".join([recipe.schedule, warmup, *(f"{name} {getattr(recipe, name)}" for name in others)])


def _hyper(siblings: Sequence[MethodEntry], made: Mapping[str, Mapping[str, Method]]) -> str:
    presets = siblings[0].cls.presets
    rows = []
    for field in dataclasses.fields(siblings[0].cls):
        free = [entry for entry in siblings if field.name not in entry.fixed]
        if not free:
            continue

        def values(preset: str, name: str = field.name, free: Sequence[MethodEntry] = free) -> str:
            return _grouped({entry.name: value(getattr(made[preset][entry.name], name)) for entry in free})

        default = values("default")
        row = [code(field.name), prose(field.metadata.get("doc", "")), default]
        before: Hyper | None = None
        for preset in presets:
            stated = presets[preset].get(field.name)
            shown = values(preset)
            if stated is None or (shown == default and len(shown) > LONG):
                shown = "*default*"
            again = stated is not None and stated == before
            row += [SAME, ""] if again else [shown, prose(stated.evidence) if stated else ""]
            before = stated
        rows.append(row)
    columns = [column for preset in presets for column in (code(preset), "Evidence")]
    return table(["Hyper-parameter", "Meaning", "Default", *columns], rows)


def _first_preset(entry: MethodEntry) -> str:
    return next(iter(entry.cls.presets), "default")


def _grouped(values: Mapping[str, str]) -> str:
    """Return the one value of all names, or each with its names; that of most names comes last, as ``else``."""
    names: dict[str, list[str]] = {}
    for name, text in values.items():
        names.setdefault(text, []).append(name)
    ordered = sorted(names, key=lambda text: len(names[text]))
    told = [f"{text} ({', '.join(f'`{name}`' for name in names[text])})" for text in ordered[:-1]]
    return ", ".join([*told, f"else {ordered[-1]}"]) if told else "".join(ordered)
