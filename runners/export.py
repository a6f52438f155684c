"""``genembench export``: take a run's encoder away as a plain sentence-transformers folder."""

from __future__ import annotations

if __name__ == "__main__":
    # See compare.py: this folder must not stand first on Python's path.
    import os
    import sys

    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

SUMMARY = "a run's encoder as a sentence-transformers folder, with a model card"


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(prog="genembench export", description=SUMMARY, allow_abbrev=False)
    result.add_argument("run", type=Path, metavar="RUN", help="a run's folder (runs/<id>), or the encoder in it")
    result.add_argument("folder", type=Path, metavar="DIR", help="a new or an empty folder")
    result.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where vectors are compared, in float32 (default: a GPU if there is)",
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Raises:
        Problem: something the user has to mend; nothing was written.
    """
    options = parser().parse_args(arguments)

    from runners.exporting.place import check_free
    from runners.exporting.source import find_source

    # What is wrong with either is said before anything is loaded.
    check_free(options.folder)
    source = find_source(options.run)

    from transformers.utils import logging

    from runners.engine import choose_device
    from runners.exporting.exporter import export
    from runners.exporting.model_card import CARD

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    done = export(source, options.folder, device=choose_device(options.device))
    print(f"vectors: at most {done.difference.largest:.1e} from ours ({done.difference.texts} texts)")
    if done.kind == "templated":
        print("to load: SentenceTransformer(DIR, trust_remote_code=True), the folder brings a module of its own")
    else:
        print("to load: SentenceTransformer(DIR)")
    print(f"card: {options.folder / CARD}")
    return 0


if __name__ == "__main__":
    from genembench.__main__ import run_command

    raise SystemExit(run_command(main, sys.argv[1:]))
