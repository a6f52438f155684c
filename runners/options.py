"""The command line's options, shared by compare, train and evaluate, and the configuration file under them.

Precedence: command line over ``--config`` over the defaults here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.files import parse_mapping
from benchmarks.kinds import KINDS
from genembench.problem import Problem, unknown
from genembench.settings import read_settings

# These collect values; a configuration file adds to them, for every other option the command line replaces it.
REPEATED = {"set", "map", "method_file", "tune"}
# Facts that a record, or a written config.json, holds beside the options.
FACTS = {"tuned"}
FROM_PRESET = "from_preset"
"""In what is written of a command: which settings of ``set`` its preset made, that is a file or the demo's."""


def words(text: str) -> list[str]:
    """Split a comma-separated option."""
    return [word for word in (part.strip() for part in text.split(",")) if word]


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options of everything that trains."""
    parser.add_argument("--backbone", metavar="PATH|ID", help="language model: a local folder, a hub id, or demo")
    for kind in KINDS.values():
        parser.add_argument(
            kind.flag,
            metavar="FILE|FOLDER|hf:ID",
            help=f"{', '.join(kind.fields)}: JSON lines (.gz too), Parquet, a folder of either, or hf:OWNER/NAME",
        )
    parser.add_argument(
        "--map", action="append", default=[], metavar="[KIND.]FIELD=NAME", help="our field is called NAME in the file"
    )
    parser.add_argument("--budget", metavar="N[,N...]|KIND=N,...", help="examples: 10000, or triplets=10000,pairs=500")
    parser.add_argument(
        "--preset", metavar="NAME|FILE", help="hyper-parameters: paper (default), small, default, or a file of them"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="METHOD.KEY=VALUE", help="override one; *.KEY=VALUE for all"
    )
    parser.add_argument(
        "--method-file", action="append", default=[], metavar="FILE.py", help="load methods from this file too"
    )
    parser.add_argument(
        "--keep-overlap", action="store_true", help="train on sentences that stand in the test sets too"
    )
    parser.add_argument("--keep-contexts", action="store_true", help="instruct data: keep several rows of one context")


def add_engine_options(
    parser: argparse.ArgumentParser, *, training: bool = True, processes: bool | None = None
) -> None:
    """Options of how a run is executed; ``processes`` says whether it can use several, None: where it trains."""
    processes = training if processes is None else processes
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU if there is")
    parser.add_argument(
        "--precision",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="default: bfloat16 autocast on a GPU, float32 on the CPU",
    )
    if processes:
        parser.add_argument(
            "--processes", type=positive, default=1, metavar="N", help="train and encode on N processes, a GPU each (1)"
        )
    if training:
        parser.add_argument("--micro-batch", type=positive, metavar="N", help="examples in one pass; saves memory")
        parser.add_argument("--gradient-checkpointing", action="store_true", help="recompute activations")
        parser.add_argument(
            "--gradient-cache", action="store_true", help="in-batch losses with the memory of one micro-batch"
        )
        parser.add_argument(
            "--cross-entropy",
            choices=["torch", "liger"],
            default="torch",
            help="over the vocabulary: torch's (default), or Liger's fused kernel, on a GPU; needs liger-kernel",
        )
        parser.add_argument(
            "--checkpoint-seconds", type=seconds, default=300.0, metavar="S", help="between checkpoints (300)"
        )
        parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events")
    if training and processes:
        parser.add_argument(
            "--deepspeed",
            metavar="zero1|zero2|zero3|FILE",
            help="divide the training state among them; needs deepspeed",
        )


def add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    """Options of what is measured."""
    parser.add_argument(
        "--benchmark", metavar="NAME|FILE", help="sts (default), demo, demo-dev, mteb:TASK,... or a file of one's own"
    )
    parser.add_argument("--tasks", type=words, metavar="TASK,...", help="only these tasks")
    parser.add_argument("--skip-tasks", type=words, default=[], metavar="TASK,...", help="all but these tasks")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="read <Task>.test.jsonl[.gz] here, not the hub")


def add_finished_options(parser: argparse.ArgumentParser) -> None:
    """Options of finished models."""
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the Python code that a sentence-transformers model brings in its folder",
    )


def positive(text: str) -> int:
    """Read a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def seconds(text: str) -> float:
    """Read a number of seconds, 0 or more."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def fraction(text: str) -> float:
    """Read a fraction: above 0, at most 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no fraction above 0 and at most 1, such as 0.25")
    return number


def seed_list(text: str) -> list[int]:
    """Read seeds: whole numbers from 0, separated by commas."""
    try:
        seeds = [int(word) for word in words(text)]
    except ValueError:
        raise argparse.ArgumentTypeError("whole numbers separated by commas, such as 0,1,2") from None
    if not seeds or min(seeds) < 0:
        raise argparse.ArgumentTypeError("whole numbers from 0, such as 0,1,2")
    return list(dict.fromkeys(seeds))


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line over the configuration file that it names.

    Raises:
        Problem: the file cannot be read or holds an unknown option.
    """
    known = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    file = finder.parse_known_args(list(arguments))[0].config
    if file is None:
        return parser.parse_args(arguments)
    tokens = []
    values = read_settings(Path(file), "--config")
    # A run's own record holds the options that repeat just this run.
    recorded = isinstance(values.get("configuration"), dict)
    values = dict(values["configuration"]) if recorded else values
    replaced = _given("--preset", arguments)
    if recorded and replaced and values.get("set") and FROM_PRESET not in values:
        raise Problem(
            f"--preset beside {file}: it does not say which of its settings came from its preset: {values['set']}",
            "Leave out --preset, or write the options that you want into a file of your own.",
        )
    from_preset = _take_from_preset(values)
    for key, value in values.items():
        name = key.replace("-", "_")
        if name in FACTS:
            continue
        if name not in known:
            raise unknown(f"option in {file}:", key, [dest.replace("_", "-") for dest in known])
        flag = f"--{name.replace('_', '-')}"
        if name in REPEATED or not _given(flag, arguments):
            tokens += _tokens(flag, known[name], value)
    options = parser.parse_args([*tokens, *arguments])
    if from_preset and not replaced:
        options.from_preset = from_preset
    return options


def _given(flag: str, arguments: Sequence[str]) -> bool:
    return any(token == flag or token.startswith(f"{flag}=") for token in arguments)


def _take_from_preset(values: dict[str, Any]) -> list[str]:
    """Take out of ``set`` what a written configuration has from its preset: another preset replaces it."""
    found, listed = values.pop(FROM_PRESET, []), values.get("set")
    if not (isinstance(found, list) and isinstance(listed, list)):
        return []
    # What somebody changed since is his own.
    values["set"] = [setting for setting in listed if setting not in found]
    return [setting for setting in found if setting in listed]


def _tokens(flag: str, action: argparse.Action, value: Any) -> list[str]:
    """Write one option of a configuration file as the command line would."""
    if value is None or value is False:
        return []
    if action.nargs == 0:
        return [flag] if value is True else [f"{flag}={value}"]
    if isinstance(value, dict):
        # set: {infonce-mean: {epochs: 2}}, set: {infonce-mean.epochs: 2}, budget: {triplets: 1000}
        pairs = [
            f"{key}.{inner}={_word(last)}" if isinstance(each, dict) else f"{key}={_word(each)}"
            for key, each in value.items()
            for inner, last in (each.items() if isinstance(each, dict) else [("", each)])
        ]
        value = pairs if action.dest in REPEATED else ",".join(pairs)
    if action.dest in REPEATED:
        return [f"{flag}={_word(each)}" for each in (value if isinstance(value, list) else [value])]
    return [f"{flag}={_word(value)}"]


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_word, value))
    return value if isinstance(value, str) else json.dumps(value)


def mappings(values: Sequence[str], kinds: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read ``--map``: ``FIELD=NAME`` for every given kind that has the field, ``KIND.FIELD=NAME`` for one.

    Raises:
        Problem: no given kind has the field.
    """
    chosen: dict[str, list[str]] = {kind: [] for kind in kinds}
    for value in values:
        kind, dot, _ = value.partition("=")[0].partition(".")
        if dot and kind in KINDS:
            if kind not in chosen:
                raise Problem(f"--map {value}: no {kind} were given", f"Add --{kind} FILE.")
            chosen[kind].append(value[len(kind) + 1 :])
            continue
        having = [kind for kind in kinds if value.partition("=")[0].strip() in KINDS[kind].fields]
        for kind in having or list(kinds)[:1]:
            chosen[kind].append(value)
        if not kinds:
            raise Problem(f"--map {value}: no data were given", "Add --triplets FILE (or another kind).")
    return {kind: parse_mapping(given, kind) for kind, given in chosen.items()}


def resolved(options: argparse.Namespace) -> dict[str, Any]:
    """Return every option's value, ready for JSON and for ``--config``."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in sorted(vars(options).items())
        if key not in ("config", "dry_run")
    }
