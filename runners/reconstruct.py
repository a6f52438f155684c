"""``genembench reconstruct``: let the backbone read a run's compressed tokens, and see what they remember of a text."""

from __future__ import annotations

if __name__ == "__main__":
    # See compare.py: this folder must not stand first on Python's path.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from genembench.problem import Problem

if TYPE_CHECKING:
    from runners.reconstruction import Reconstruction

SUMMARY = "decode from a trained run's compressed tokens: what do they remember?"
STDIN = "-"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    from runners.options import add_engine_options, positive

    result = argparse.ArgumentParser(prog="genembench reconstruct", description=SUMMARY, allow_abbrev=False)
    result.add_argument("run", type=Path, metavar="RUN", help="a run's folder (runs/<id>), or the encoder in it")
    result.add_argument("texts", nargs="+", metavar="TEXT", help=f"{STDIN} reads texts from standard input, one a line")
    result.add_argument("--instruction", metavar="TEXT", help="ask this of each text, not the method's own prompt")
    result.add_argument("--backbone", metavar="PATH|ID", help="where the run's backbone is now, if it was moved")
    result.add_argument("--max-tokens", type=positive, default=64, metavar="N", help="longest answer in tokens (64)")
    result.add_argument("--json", action="store_true", help="one JSON object a line")
    add_engine_options(result, training=False)
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        Problem: something the user has to mend.
    """
    options = parser().parse_args(arguments)
    texts = read_texts(options.texts)
    if options.instruction is not None:
        _check(options.instruction, "--instruction")

    from transformers.utils import logging

    from runners.prepare import make_engine
    from runners.reconstruction import open_run, reconstruct

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    reader = open_run(options.run, options.backbone, make_engine(options))
    found = reconstruct(reader, texts, instruction=options.instruction, max_tokens=options.max_tokens)
    if options.json:
        for each in found:
            print(json.dumps(asdict(each), ensure_ascii=False))
    else:
        print("\n\n".join(map(_in_words, found)))
    return 0


def read_texts(given: Sequence[str]) -> list[str]:
    """Return the texts of the command line; ``-`` stands for the lines of standard input, empty ones left out.

    Raises:
        Problem: a text is empty or not UTF-8, or there is none.
    """
    if given.count(STDIN) > 1:
        raise Problem(f"{STDIN} was given {given.count(STDIN)} times", "Standard input can be read once.")
    texts = []
    for number, text in enumerate(given, 1):
        if text == STDIN:
            texts += _lines()
        else:
            _check(text, f"text {number}")
            texts.append(text)
    if not texts:
        raise Problem("standard input holds no text", "Write one text a line.")
    return texts


def _lines() -> list[str]:
    try:
        read = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(f"standard input is not UTF-8: {error.reason} at byte {error.start}", "Convert it.") from error
    # Not splitlines: texts may hold line separators that are no line breaks to the shell.
    return [line.rstrip("\r") for line in read.split("\n") if line.strip()]


def _check(text: str, what: str) -> None:
    if not text.strip():
        raise Problem(f"{what} is empty", "Give at least one word.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        # Bytes that are not UTF-8 reach a program as lone surrogates, which no tokenizer takes.
        raise Problem(f"{what} is not UTF-8: {text!r}", "Convert it.") from error


def _in_words(found: Reconstruction) -> str:
    quoted = json.dumps(found.decoded, ensure_ascii=False) + ("" if found.ended else " …")
    memory = f"{found.logp_per_token:.2f} nats a token"
    if found.logp_behind_others is not None:
        memory += f"; behind other texts' compressed tokens {found.logp_behind_others:.2f}"
    return f"text     {json.dumps(found.text, ensure_ascii=False)}\ndecoded  {quoted}\nmemory   {memory}"


if __name__ == "__main__":
    from genembench.__main__ import run_command

    raise SystemExit(run_command(main, sys.argv[1:]))
