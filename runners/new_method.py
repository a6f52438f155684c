"""``genembench new-method``: a small working method to begin with."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from genembench.problem import Problem

SUMMARY = "write a small working method to begin with"
TEMPLATE = Path(__file__).with_name("new_method_template.py")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Raises:
        Problem: a name or a file that cannot be used; nothing was written.
    """
    parser = argparse.ArgumentParser(
        prog="genembench new-method", description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}.", allow_abbrev=False
    )
    parser.add_argument("name", metavar="NAME", help="what the method will be called, such as my-method")
    parser.add_argument("--output", type=Path, metavar="FILE.py", help="default: NAME.py here, with _ for -")
    options = parser.parse_args(arguments)
    file = write(options.name, options.output)
    shown = shlex.quote(str(file))
    print(f"{file} is written: a method that trains, to be changed into yours. Next:")
    print(f"  genembench check {shown}")
    print(f"  genembench compare --method-file {shown} --methods {options.name},untrained-mean,infonce-inbatch-mean")
    print(
        "The second trains on the embedded demo, for want of other data. docs/contract.md says what a method promises."
    )
    return 0


def write(name: str, output: Path | None = None) -> Path:
    """Write the method called ``name`` to ``output``, or to the working directory, and return the file.

    Raises:
        Problem: not a name, or the file exists or cannot be.
    """
    if not _NAME.fullmatch(name):
        cleaned = "-".join(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()))
        meant = f"Take {cleaned}: " if _NAME.fullmatch(cleaned) else ""
        raise Problem(
            f"'{name}' cannot be a method's name",
            f"{meant}{'l' if meant else 'L'}ower-case letters and digits, a letter first, and - between words.",
        )
    stem = name.replace("-", "_")
    file = output or Path(f"{stem}.py")
    if file.suffix != ".py":
        raise Problem(f"--output {file} is not a Python file", "Its name must end in .py.")
    if file.exists():
        raise Problem(f"{file} exists already", "Choose another name, or another file with --output; nothing is lost.")
    if not file.parent.is_dir():
        raise Problem(f"--output {file}: there is no folder {file.parent}", "Make it first, or choose another.")
    if hides_a_module(file.stem):
        raise Problem(
            f"{file.name} would hide Python's module {file.stem} from whatever runs beside it",
            f"Choose another name, such as my-{name}, or another file with --output.",
        )
    text = TEMPLATE.read_text(encoding="utf-8")
    # The first line is for our own type checker: an example need not be typed.
    text = text.partition("\n")[2].replace("my-method", name).replace("MyMethod", class_name(name))
    file.write_text(text, encoding="utf-8")
    return file


def class_name(name: str) -> str:
    """Turn ``my-method`` into ``MyMethod``."""
    return "".join(word.capitalize() for word in name.split("-"))


def hides_a_module(stem: str) -> bool:
    """Whether a file of this stem beside a script would be imported instead of a module that is there."""
    if stem in sys.stdlib_module_names or keyword.iskeyword(stem):
        return True
    try:
        found = importlib.util.find_spec(stem)
    except (ImportError, ValueError):
        return False
    # With `python -m` the working directory is on the path: a method that lies there already is no module of Python's.
    return found is not None and Path(found.origin or "").parent != Path.cwd()
