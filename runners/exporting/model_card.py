"""The model card: what the folder is, how to use it, what it was made from, its scores, and what it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePath

from leaderboard.pack import strip
from leaderboard.records import Record
from leaderboard.units import gigabytes, seconds, si
from methods.encoder import encoder_address, files_hash
from runners.addresses import evaluation_address
from runners.exporting.card_metadata import front_matter
from runners.exporting.card_scores import Changed, scores
from runners.exporting.card_usage import usage
from runners.exporting.check import Difference
from runners.exporting.folder import Kind
from runners.exporting.made import Made
from runners.output import RECORD, write_json, write_text

CARD = "README.md"
_MOVED = ("backbone", "triplets", "instruct", "pairs", "text", "data_dir")


def write_card(folder: Path, made: Made, kind: Kind, difference: Difference) -> None:
    """Write the card, and the record without this machine's paths."""
    if made.source.raw is not None:
        write_json(folder / RECORD, strip(made.source.raw))
    parts = [*_introduction(made), *usage(made, kind, difference), *_made_from(made)]
    if made.source.record is not None:
        parts += [*scores(made.source.record, _changed(made)), *_again(made.source.record)]
    parts += _is_not(made)
    write_text(folder / CARD, front_matter(made.title, made.name, made.source.record) + "\n".join(parts) + "\n")


def _introduction(made: Made) -> Iterator[str]:
    facts = made.method.facts
    yield f"# {made.title}\n"
    trained = "made" if made.method.stages() else "read off the untouched weights"
    yield (
        f"Turns a text into {made.dimension:,} numbers, a vector of length 1. It was {trained} by the method "
        f"**{made.name}** ({facts.family}; {facts.paper}): {facts.summary}. Exported from genembench, which compares "
        "such methods on equal data.\n"
    )


def _made_from(made: Made) -> Iterator[str]:
    record, method = made.source.record, made.method
    yield "## What it was made from\n"
    if record is None:
        yield "The encoder stood alone, without the record of its run: backbone, data and scores are not known here.\n"
    else:
        yield "| | |\n| --- | --- |"
        yield from (f"| {name} | {value} |" for name, value in _facts(record))
        yield ""
    if not method.stages():
        yield "Nothing was trained: the weights are the backbone's own.\n"
    yield f"Hyper-parameters of {made.name}{f' (preset {record.method.preset})' if record else ''}:\n"
    yield "```json"
    yield json.dumps(method.config(), indent=2, ensure_ascii=False)
    yield "```\n"
    yield f"Address of the encoder: `{made.address}`.\n"


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    if record.backbone:
        size = f"{si(record.backbone.parameters)} parameters"
        yield "backbone", f"{record.backbone.name}, {size}, files `{record.backbone.address}`"
    spent = record.costs.attributed
    for kind, data in record.data.items():
        dropped = ", ".join(f"{amount:,} {why.replace('_', ' ')}" for why, amount in data.dropped.items() if amount)
        yield (
            kind,
            f"`{_file_name(data.path)}`: {data.unique:,} different examples of {data.read:,} rows, "
            f"{spent.examples_seen.get(kind, 0):,} seen over all epochs; left out: {dropped or 'none'}; "
            f"ids `{data.address}`",
        )
    if record.costs.stages:
        asked = ", ".join(f"{kind} {amount:,.0f}" for kind, amount in record.budget.asked.items())
        used = ", ".join(f"{kind} {amount:,}" for kind, amount in spent.unique_examples.items())
        yield "budget", f"{record.budget.label}: asked {asked}; spent {used}"
        yield "stages", "; ".join(f"{each.name} `{each.address[:16]}…`" for each in record.costs.stages)
        cost = f"{seconds(spent.training_seconds)}, {si(spent.model_flops)}FLOPs, {si(spent.real_tokens)} tokens"
        memory = f"{gigabytes(spent.peak_memory_bytes)} of memory at its peak"
        yield "cost of training", f"{cost}, {spent.optimizer_steps:,} steps, {memory}"
    tuned = record.configuration.get("tuned")
    if isinstance(tuned, dict):
        yield "tuned", f"{tuned.get('trials')} trials on {tuned.get('on')}, chosen {json.dumps(tuned.get('chosen'))}"
    yield "seed", str(record.seed)
    yield "run", f"`{record.run}`, finished {record.finished}"
    for name, address in (("training", record.training_address), ("evaluation", record.evaluation_address)):
        if address:
            yield f"{name} address", f"`{address}`"
    packages = record.environment.get("packages") or {}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    yield "made with", f"{versions}; Python {record.environment.get('python')}, {record.engine.get('precision')}"
    yield "exported", datetime.now(UTC).date().isoformat()


def _changed(made: Made) -> Changed:
    """Say by addresses whether the scores of the record are this encoder's."""
    record = made.source.record
    if record is None or record.evaluation_address is None:
        return "nothing"

    def is_measured(encoder: str) -> bool:
        found = evaluation_address(encoder, record.benchmark.address, str(record.engine.get("precision")))
        return found == record.evaluation_address

    if is_measured(made.address):
        return "nothing"
    # As if the method's source were still the recorded one.
    as_recorded = encoder_address(files_hash(made.source.weights), made.method, record.method.source)
    return "code" if is_measured(as_recorded) else "weights"


def _again(record: Record) -> Iterator[str]:
    configuration = record.configuration
    command = "train" if "method" in configuration else "compare"
    moved = [
        f"--{name.replace('_', '-')} …/{PurePath(value).name}"
        for name in _MOVED
        if isinstance(value := configuration.get(name), str) and PurePath(value).is_absolute()
    ]
    yield "## Making it again\n"
    yield f"    genembench {' '.join([command, '--config', RECORD, *moved, '--output', 'DIR'])}\n"
    plug_in = " and the method's own file" if configuration.get("method_file") else ""
    yield (
        f"`{RECORD}` is the record of the run, without paths: say where your copies{plug_in} are. Equal files give "
        "equal addresses, and on the same processor equal scores.\n"
    )


def _is_not(made: Made) -> Iterator[str]:
    record = made.source.record
    yield "## What it is not\n"
    if record is not None:
        yield f"- One run, of seed {record.seed}: another seed gives other weights, and somewhat other scores."
        if record.scores:
            yield "- Its scores are of the tasks above; of other tasks, languages and kinds of text they say nothing."
        else:
            yield "- It was trained and not measured: nothing is known of its quality."
    yield "- Not a model of the method's authors: this is the method as genembench implements it."
    yield "- Nobody has examined it for bias or harm; it has what its backbone and its data have."
    yield "- No licence is stated: the backbone's applies to the weights, and what its data allow may apply too."


def _file_name(path: str) -> str:
    return path if path.startswith("hf:") else PurePath(path).name
