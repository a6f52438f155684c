"""``genembench methods [NAME]``: what can be compared, what is trained, and where each hyper-parameter comes from."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methods.contract import Stage
    from methods.registry import MethodEntry, Registry

SUMMARY = "list the methods, or one method's hyper-parameters and presets"


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Raises:
        Problem: no such method.
    """
    parser = argparse.ArgumentParser(prog="genembench methods", description=SUMMARY, allow_abbrev=False)
    parser.add_argument("name", nargs="?", metavar="NAME", help="one method, with everything that can be set")
    parser.add_argument("--method-file", action="append", default=[], metavar="FILE.py", help="load this file too")
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print docs/methods.md: all but installed plug-ins, or with NAME one method and its siblings",
    )
    options = parser.parse_args(arguments)

    from methods.registry import discover

    registry = discover([Path(file) for file in options.method_file])
    if options.markdown:
        print(_page(registry, options.name))
    elif options.name:
        print(_described(registry.get(options.name)))
    else:
        print(_listed(registry))
    return 0


def _page(registry: Registry, name: str | None) -> str:
    from runners.methods_page import page

    entries = registry.entries.values()
    if name:
        chosen = registry.get(name).cls
        return page(entry for entry in entries if entry.cls is chosen)
    # Without what happens to be installed, so that the page is the same everywhere.
    return page(entry for entry in entries if not entry.origin.startswith("plug-in "))


def _listed(registry: Registry) -> str:
    lines = []
    for entry in sorted(registry.entries.values(), key=lambda e: (e.cls.facts.family, e.name)):
        needs = ", ".join(entry.create("default").needs) or "nothing"
        lines.append(f"{entry.name:<26} {entry.cls.facts.family:<14} trains on {needs:<18} {entry.cls.facts.paper}")
    lines += [f"not loaded: {origin} ({reason})" for origin, reason in registry.broken]
    return "\n".join(lines)


def _described(entry: MethodEntry) -> str:
    from runners.method_facts import attention, headline, objective, pooling, reading

    facts = entry.cls.facts
    method = entry.create("default")
    lines = [f"{entry.name}  ({facts.family}; {facts.paper})", f"  {facts.summary}", f"  from {entry.origin}"]
    lines += [f"  trains on: {', '.join(method.needs) or 'nothing'}; inference: {facts.inference_cost}"]
    lines += [f"  attention: {attention(method)}", f"  read-out: {reading(method)}", f"  pooling: {pooling(method)}"]
    for stage in method.stages():
        lines.append(f"  stage {stage.name} ({stage.data}, {stage.loss_kind} loss): {objective(stage)}")
        lines += [f"      trains {trains} ({', '.join(presets)})" for trains, presets in _trained(entry, stage).items()]
    lines += [f"  parity: {headline(facts.parity)}"]
    lines += [f"  deviation: {deviation}" for deviation in facts.deviations]
    # Documentation is written for readers of code.
    lines = [line.replace("``", "") for line in lines]
    for field in dataclasses.fields(entry.cls):
        fixed = " (fixed by the name)" if field.name in entry.fixed else ""
        lines.append(f"  {field.name} = {getattr(method, field.name)!r}{fixed}: {field.metadata.get('doc', '')}")
        if fixed:
            continue
        for preset, values in entry.cls.presets.items():
            if field.name in values:
                value = getattr(entry.create(preset), field.name)
                lines.append(f"      {preset}: {value!r} ({values[field.name].evidence})")
    return "\n".join(lines)


def _trained(entry: MethodEntry, stage: Stage) -> dict[str, list[str]]:
    """Return what the stage trains, with the presets in which it does."""
    found: dict[str, list[str]] = {}
    for preset in ("default", *entry.cls.presets):
        for each in entry.create(preset).stages():
            if each.name == stage.name:
                found.setdefault(each.trains, []).append(preset)
    return found
