"""``genembench demo``: write the embedded demo's data as files, to be looked at or to be imitated."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from genembench.problem import Problem

SUMMARY = "write the embedded demo's data as files, to look at"


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Raises:
        Problem: no new folder was named.
    """
    parser = argparse.ArgumentParser(prog="genembench demo", description=SUMMARY, allow_abbrev=False)
    parser.add_argument("--output", type=Path, metavar="DIR", help="new folder for the files")
    options = parser.parse_args(arguments)
    if options.output is None:
        raise Problem("no --output was given", "Name a new folder for the demo's files.")
    if options.output.exists():
        raise Problem(f"--output {options.output} exists already", "Name a new folder.")

    import json

    from benchmarks.demo.rows import ROWS, demo_rows
    from benchmarks.demo.tasks import RETRIEVAL, STS, retrieval, sts_pairs
    from runners.output import write_text

    made = retrieval()
    files = {kind: demo_rows(kind) for kind in ROWS}
    files |= {f"{task}.test": [pair._asdict() for pair in sts_pairs(task)] for task in STS}
    files[f"{RETRIEVAL}.queries"] = [
        {"id": key, "text": text, "answer": made.relevant[key]} for key, text in made.queries.items()
    ]
    files[f"{RETRIEVAL}.corpus"] = [{"id": key, "text": text} for key, text in made.corpus.items()]
    for name, rows in files.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(options.output / f"{name}.jsonl", "".join(lines))
        print(f"{options.output / name}.jsonl: {len(rows):,} lines")
    return 0
