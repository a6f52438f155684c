"""``genembench pretrain``: learn a tokenizer and pre-train a small Llama on text, to be a backbone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from genembench.problem import Problem

SUMMARY = "pre-train a small Llama on text, to be a backbone"

SIZES = {
    "tiny": {"hidden": 128, "layers": 4, "heads": 4, "key_value_heads": 4, "intermediate": 384, "vocabulary": 1024},
    "small": {"hidden": 256, "layers": 6, "heads": 8, "key_value_heads": 4, "intermediate": 768, "vocabulary": 8192},
    "medium": {"hidden": 512, "layers": 8, "heads": 8, "key_value_heads": 4, "intermediate": 1536, "vocabulary": 16384},
    "large": {
        "hidden": 768,
        "layers": 12,
        "heads": 12,
        "key_value_heads": 4,
        "intermediate": 2048,
        "vocabulary": 32768,
    },
}
"""About 1, 7, 30 and 100 million parameters; every number can be given by itself."""


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    from runners.options import add_engine_options, positive

    result = argparse.ArgumentParser(prog="genembench pretrain", description=SUMMARY, allow_abbrev=False)
    result.add_argument(
        "--text", metavar="FILE|FOLDER|hf:ID", help="texts (JSON lines or Parquet with a field text), or demo"
    )
    result.add_argument("--map", action="append", default=[], metavar="text=NAME", help="the field is called NAME")
    result.add_argument("--examples", type=positive, metavar="N", help="texts to train on; default: all")
    result.add_argument("--size", choices=list(SIZES), default="tiny", help="default: tiny, a million parameters")
    for name in ("hidden", "layers", "heads", "key-value-heads", "intermediate", "vocabulary"):
        result.add_argument(f"--{name}", type=positive, metavar="N", help="instead of the size's")
    result.add_argument("--context", type=positive, default=512, metavar="N", help="longest input in tokens (512)")
    result.add_argument(
        "--learning-rate", type=float, metavar="X", help="default: 0.384 / hidden, smaller for wider models"
    )
    result.add_argument("--batch-size", type=positive, default=64, metavar="N", help="texts in a step (64)")
    result.add_argument("--epochs", type=positive, default=1, metavar="N", help="passes over the texts (1)")
    result.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    add_engine_options(result, processes=False)
    result.add_argument("--output", type=Path, metavar="DIR", help="new folder for the backbone")
    result.add_argument("--config", metavar="FILE", help="TOML, YAML or JSON file of these options")
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code: 0 trained, 1 diverged, 130 interrupted.

    Raises:
        Problem: something the user has to mend; nothing was written.
    """
    from runners.options import mappings, parse

    options = parse(parser(), arguments)
    if not options.text:
        raise Problem("no --text was given", "Give a file with a field text on each line, or --text demo.")
    if options.output is None:
        raise Problem("no --output was given", "Name a new folder for the backbone.")
    if options.output.exists():
        raise Problem(f"--output {options.output} exists already", "Name a new folder.")

    from benchmarks.training_data import load_training_data
    from runners import interrupt
    from runners.interrupt import Interrupted
    from runners.new_backbone import Shape
    from runners.prepare import make_engine
    from runners.pretraining import Pretraining, pretrain
    from runners.progress import say
    from runners.trainer import Diverged

    engine = make_engine(options)
    chosen = {key: getattr(options, key) or value for key, value in SIZES[options.size].items()}
    shape = Shape(**chosen, context=options.context)
    settings = Pretraining(
        shape=shape,
        learning_rate=0.384 / shape.hidden if options.learning_rate is None else options.learning_rate,
        batch_size=options.batch_size,
        epochs=options.epochs,
        seed=options.seed,
    )
    _ = settings.recipe  # refuses numbers that cannot be trained with
    mapping = mappings(options.map, ["text"])["text"]
    data = load_training_data("text", options.text, mapping=mapping, seed=options.seed, held_out=None)
    if options.examples and options.examples > len(data):
        raise Problem(
            f"--examples {options.examples} is above the {len(data):,} usable rows of {data.path}", "Ask for less."
        )
    data = data.take(options.examples) if options.examples else data
    say(f"text: {len(data):,} of {data.read:,} rows of {data.path}")
    interrupt.listen()
    try:
        pretrain(settings, data, options.output, engine, "pretrain")
    except Interrupted as stop:
        say(str(stop))
        return 130
    except Diverged as error:
        say(f"diverged: {error}; a smaller --learning-rate may help")
        return 1
    print(f"backbone: {options.output}")
    return 0
