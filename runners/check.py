"""``genembench check``: whether a method keeps the contract, and if not, what to mend."""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from genembench.problem import Problem

if TYPE_CHECKING:
    from methods.registry import MethodEntry, Registry
    from runners.contract_checks import Outcome, Subject

SUMMARY = "whether a method keeps the contract, promise by promise, and what to mend if not"
WIDTH = 118
INDENT = " " * 8


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        prog="genembench check",
        description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}. It trains a tiny random model on the spot: seconds, no GPU, "
        "no downloads. The exit code is 1 if a promise is broken.",
        allow_abbrev=False,
    )
    result.add_argument("method", metavar="NAME|FILE.py", help="a method, or a file: every method that it registers")
    result.add_argument("--preset", metavar="NAME", help="hyper-parameters: small if the method has it, else default")
    result.add_argument(
        "--set", action="append", default=[], metavar="METHOD.KEY=VALUE", help="override one; *.KEY=VALUE for all"
    )
    result.add_argument("--method-file", action="append", default=[], metavar="FILE.py", help="load this file too")
    result.add_argument(
        "--backbone", type=Path, metavar="PATH", help="a real language model's folder, not a tiny random one: slower"
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the command; the code is 1 if a promise is broken.

    Raises:
        Problem: no such method, file, preset, hyper-parameter or backbone.
    """
    options = parser().parse_args(arguments)
    _show(f"{INDENT}loading …")
    try:
        return _check(options)
    finally:
        _show("")


def _check(options: argparse.Namespace) -> int:
    if options.backbone is not None and not (options.backbone / "config.json").is_file():
        raise Problem(
            f"--backbone {options.backbone} is no language model: it has no config.json",
            "Give a local folder with config.json, safetensors weights and a tokenizer, or leave the option out.",
        )
    from methods.registry import parse_overrides

    entries = find(options.method, [Path(file) for file in options.method_file])
    overrides = parse_overrides(options.set, entries)
    for entry in entries:
        if options.preset or overrides[entry.name]:
            # What the user has set is the user's to mend; what else is wrong, a check will say.
            entry.create(preset_of(entry, options.preset), overrides[entry.name])
    _prepare_libraries(own_model=options.backbone is not None)
    if options.backbone is not None:
        _show("")
        print(f"On {options.backbone}: about 80 steps a stage, so it takes longer than on the tiny model.", flush=True)
    files = {str(Path(file).resolve()): Path(file) for file in [*options.method_file, options.method]}
    codes = []
    with TemporaryDirectory(prefix="genembench-check-") as scratch:
        from runners.contract_checks import Subject
        from runners.contract_checks.subject import LEARNING_RATE, make_backbone, training_rows

        backbone = options.backbone or make_backbone(Path(scratch) / "backbone")
        for number, entry in enumerate(entries):
            if len(entries) > 1:
                print(f"{entry.name}" if number == 0 else f"\n{entry.name}")
            folder = Path(scratch) / str(number)
            folder.mkdir()
            subject = Subject(
                entry=entry,
                backbone=backbone,
                rows=training_rows(),
                scratch=folder,
                preset=preset_of(entry, options.preset),
                overrides=overrides[entry.name],
                method_file=files.get(entry.origin),
                # What suits the tiny backbone would be too much for a trained one.
                learning_rate=None if options.backbone else LEARNING_RATE,
            )
            codes.append(examine(subject, again=options.method))
    return max(codes)


def find(wanted: str, method_files: Sequence[Path]) -> list[MethodEntry]:
    """Return the method called ``wanted``, or every method that the file ``wanted`` registers.

    Raises:
        Problem: there is none, or the file cannot be loaded.
    """
    from methods.registry import discover

    registry = discover(method_files)
    if not (wanted.endswith(".py") or "/" in wanted):
        return [registry.get(wanted)]
    file = Path(wanted)
    if file.is_file():
        # A built-in's or a plug-in's own file is loaded already, and a second time its names would be taken.
        loaded = _of_file(registry, file)
        if loaded:
            return loaded
    elif not file.exists():
        raise Problem(
            f"{wanted}: no such file",
            "Give a method's name (`genembench methods` lists them) or a Python file that registers one; "
            "`genembench new-method NAME` writes one to begin with.",
        )
    return _of_file(discover([*method_files, file]), file)


def _of_file(registry: Registry, file: Path) -> list[MethodEntry]:
    import inspect

    found = [entry for entry in registry.entries.values() if Path(inspect.getfile(entry.cls)).samefile(file)]
    return sorted(found, key=lambda entry: entry.name)


def preset_of(entry: MethodEntry, wanted: str | None) -> str:
    """Return the preset to examine: the wanted one, or ``small`` where there is one."""
    return wanted or ("small" if "small" in entry.cls.presets else "default")


def examine(subject: Subject, *, again: str) -> int:
    """Run every check on a method and print what comes of it; return the exit code."""
    from runners.contract_checks import CHECKS, perform

    began = time.perf_counter()
    outcomes: list[Outcome] = []
    for check in CHECKS:
        _show(f"{INDENT}{check.title} …")
        outcome = perform(check, subject)
        _show("")
        print("\n".join(layout(outcome, outcomes)), flush=True)
        outcomes.append(outcome)
    broken = [outcome.check.name for outcome in outcomes if outcome.mark == "broken"]
    print(verdict(subject.entry.name, outcomes, time.perf_counter() - began))
    if broken:
        print(f"Mend that and run `genembench check {again}` again; docs/contract.md says what is promised and why.")
    return int(bool(broken))


def layout(outcome: Outcome, before: Iterable[Outcome] = ()) -> Iterator[str]:
    """Lay out one outcome: mark and title in columns, the detail behind, the explanation below."""
    same = [other.check.name for other in before if other.explanation and other.explanation == outcome.explanation]
    detail = f"for the same reason as {same[0]}" if same else outcome.detail
    line = f"{outcome.mark:<7} {outcome.check.title}" + (f"  ({detail})" if detail else "")
    yield from textwrap.wrap(line, WIDTH, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
    if same:
        return
    for text in outcome.explanation:
        for part in text.splitlines():
            yield from textwrap.wrap(
                part,
                WIDTH,
                initial_indent=f"{INDENT}  ",
                subsequent_indent=f"{INDENT}  ",
                break_long_words=False,
                break_on_hyphens=False,
            )


def verdict(name: str, outcomes: Sequence[Outcome], seconds: float) -> str:
    """Say in one line what came out."""
    counts = {mark: sum(outcome.mark == mark for outcome in outcomes) for mark in ("kept", "broken", "skipped")}
    looked = counts["kept"] + counts["broken"]
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    if not counts["broken"]:
        return f"{name} keeps the contract: {counts['kept']} of {looked} checks{skipped}, {seconds:.1f} s"
    broken = ", ".join(outcome.check.name for outcome in outcomes if outcome.mark == "broken")
    return f"{name} breaks the contract: {counts['broken']} of {looked} checks ({broken}){skipped}, {seconds:.1f} s"


def _show(line: str) -> None:
    """Keep one line on the terminal up to date; nothing where there is none."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line[:WIDTH]}", end="", file=sys.stderr, flush=True)


def _prepare_libraries(*, own_model: bool) -> None:
    """Keep the libraries' own bars and advice off the terminal, and threads off a model that is too small for them."""
    import warnings

    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"(transformers|torch|peft|accelerate)\b")
    if not own_model:
        torch.set_num_threads(1)
