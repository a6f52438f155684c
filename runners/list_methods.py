"""``genembench methods [NAME]``: what can be compared, and where each hyper-parameter comes from."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

SUMMARY = "list the methods, or one method's hyper-parameters and presets"


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Raises:
        Problem: no such method.
    """
    parser = argparse.ArgumentParser(prog="genembench methods", description=SUMMARY, allow_abbrev=False)
    parser.add_argument("name", nargs="?", metavar="NAME", help="one method, with everything that can be set")
    parser.add_argument("--method-file", action="append", default=[], metavar="FILE.py", help="load this file too")
    options = parser.parse_args(arguments)

    from methods.registry import MethodEntry, discover

    registry = discover([Path(file) for file in options.method_file])

    def describe(entry: MethodEntry) -> str:
        facts = entry.cls.facts
        method = entry.create("default")
        lines = [f"{entry.name}  ({facts.family}; {facts.paper})", f"  {facts.summary}", f"  from {entry.origin}"]
        lines += [f"  trains on: {', '.join(method.needs) or 'nothing'}; inference: {facts.inference_cost}"]
        lines += [f"  deviation: {deviation}" for deviation in facts.deviations]
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

    if options.name:
        print(describe(registry.get(options.name)))
        return 0
    for entry in sorted(registry.entries.values(), key=lambda e: (e.cls.facts.family, e.name)):
        needs = ", ".join(entry.create("default").needs) or "nothing"
        print(f"{entry.name:<26} {entry.cls.facts.family:<14} trains on {needs:<18} {entry.cls.facts.paper}")
    for origin, reason in registry.broken:
        print(f"not loaded: {origin} ({reason})")
    return 0
