"""``genembench doctor``: what works on this machine, what does not, and the command that mends it.

The looking is done in a second process (`probes.py`), so that this one survives whatever a broken library does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from runners.probes import CHOSEN, IMPORTING, ISSUE, REINSTALL, SECTIONS, Finding, Message

SUMMARY = "what works on this machine, what is missing, and the command that mends it"

# A first import from a network disk takes a minute; nothing takes longer unless it hangs.
SECONDS_WITHOUT_NEWS = 120.0
SECONDS_BEFORE_SAYING = 1.0
WIDTH = 118
NAME_WIDTH = 15
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)


def main(arguments: Sequence[str]) -> int:
    """Run the command; the code is 1 if something is bad."""
    parser = argparse.ArgumentParser(
        prog="genembench doctor",
        description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}. Prints no secrets; paste it into a bug report.",
        epilog="ok: works. note: works, but slower, or something optional is missing. bad: something will fail; "
        "the exit code is then 1.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="the same facts as JSON")
    options = parser.parse_args(arguments)
    findings: dict[str, list[Finding]] = {}
    for title, found in look(list(SECTIONS)):
        findings[title] = [cleaned(finding, os.environ) for finding in found]
        if not options.json:
            print("\n".join(layout(title, findings[title])), flush=True)
    everything = [finding for found in findings.values() for finding in found]
    if options.json:
        print(json.dumps(to_json(findings), indent=2, ensure_ascii=False))
    else:
        print(f"\n{verdict(everything)}")
    return int(any(finding.mark == "bad" for finding in everything))


def verdict(findings: Iterable[Finding]) -> str:
    """Say in one line whether genembench will run here."""
    findings = list(findings)
    count = {mark: sum(finding.mark == mark for finding in findings) for mark in ("note", "bad")}
    if count["bad"]:
        return f"{count['bad']} thing{'s' if count['bad'] > 1 else ''} to mend (marked bad above)."
    chosen = next((finding.text for finding in findings if finding.name == CHOSEN), "the chosen device")
    chosen = chosen.partition(" (")[0]
    notes = f"{count['note']} note{'' if count['note'] == 1 else 's'} (slower or optional)"
    return f"Ready: runs on {chosen}; {notes}." if count["note"] else f"Ready: runs on {chosen}."


def to_json(findings: Mapping[str, Sequence[Finding]]) -> dict[str, object]:
    """Lay the report out for programs."""
    everything = [finding for found in findings.values() for finding in found]
    return {
        "format": 1,
        "ready": not any(finding.mark == "bad" for finding in everything),
        "verdict": verdict(everything),
        "sections": {
            title: [
                {"mark": finding.mark, "name": finding.name, "text": finding.text, "mend": list(finding.mend)}
                for finding in found
            ]
            for title, found in findings.items()
        },
    }


def layout(title: str, findings: Sequence[Finding]) -> Iterator[str]:
    """Lay out one section: mark, name and text in columns, and under them the commands."""
    yield title
    for number, finding in enumerate(findings):
        start = f"  {finding.mark:<5} {finding.name:<{NAME_WIDTH}} "
        # A long name pushes its text aside, but not the lines below.
        indent = " " * (9 + NAME_WIDTH)
        yield from textwrap.wrap(
            finding.text,
            WIDTH,
            initial_indent=start,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        # What one command mends gets it once, after the last of them.
        following = findings[number + 1].mend if number + 1 < len(findings) else ()
        if finding.mend != following:
            # Commands stay on one line however long: they are there to be copied.
            yield from (f"{indent}  {command}" for command in finding.mend)


def cleaned(finding: Finding, environment: Mapping[str, str]) -> Finding:
    """Take out what a report must not tell: passwords, tokens, and whose home it is."""

    def clean(text: str) -> str:
        for name, value in environment.items():
            # Short values and paths would blacken half of the report and are no secrets.
            if SECRET_NAME.search(name) and len(value) >= 8 and not value.startswith(("/", "~")):
                text = text.replace(value, "***")
        text = re.sub(r"://[^/@\s]+@", "://***@", text)
        text = re.sub(r"\bhf_[A-Za-z0-9]{8,}", "hf_***", text)
        home = os.path.expanduser("~")  # noqa: PTH111  # Path.home() raises where there is none
        if len(home) > 1:
            text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
        return " ".join(text.split())

    mend = tuple(clean(command) for command in finding.mend)
    return Finding(finding.mark, clean(finding.name), clean(finding.text), mend)


# The paths first: everything after them must be found where this process finds it.
_START = "import sys; sys.path[:] = sys.argv[1].split('\\n'); from runners.probes import serve; serve(*sys.argv[2:])"


def look(titles: Sequence[str]) -> Iterator[tuple[str, list[Finding]]]:
    """Look at the sections, in a new process after each one that died."""
    waiting = list(titles)
    broken: dict[str, str] = {}
    while waiting:
        # Not multiprocessing: its resource tracker would complain on our terminal about the libraries' leaks.
        ours, theirs = os.pipe()
        command = [sys.executable, "-c", _START, "\n".join(sys.path), str(theirs), json.dumps(waiting)]
        with Connection(ours, writable=False) as receive, _log() as log:
            try:
                process = subprocess.Popen(
                    [*command, json.dumps(broken)], pass_fds=[theirs], stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            finally:
                # Only the other process may hold this end: its death is then the end of what can be read.
                os.close(theirs)
            try:
                while waiting:
                    found, death, activity = _section(receive, process, waiting[0])
                    if death:
                        death += _last_words(log)
                        found.append(_epitaph(death, activity))
                        if activity.startswith(IMPORTING):
                            broken[activity.removeprefix(IMPORTING)] = death
                    yield waiting.pop(0), found
                    if death:
                        break
            finally:
                process.kill()
                process.wait()


def _log() -> IO[bytes]:
    """Open what libraries print into: warnings and progress bars belong neither into the report nor around it."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return Path(os.devnull).open("w+b")


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()[:200]})" if lines else ""


def _section(receive: Connection, process: subprocess.Popen[bytes], title: str) -> tuple[list[Finding], str, str]:
    """Read one section: findings, why the process is gone (empty if it is not), and what it was at."""
    found: list[Finding] = []
    activity = ""
    with Waiting(title) as waiting:
        heard = time.monotonic()
        while True:
            if not receive.poll(0.2):
                waiting.say(activity)
                if time.monotonic() - heard > SECONDS_WITHOUT_NEWS:
                    return found, f"did not answer for {SECONDS_WITHOUT_NEWS:.0f} s", activity
                continue
            heard = time.monotonic()
            try:
                message: Message = receive.recv()
            except (EOFError, OSError):
                return found, _cause(process.wait()), activity
            if message is None:
                return found, "", activity
            if isinstance(message, str):
                activity = message
                waiting.say(activity)
            else:
                found.append(message)


def _cause(code: int) -> str:
    if code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with code {code}"


def _epitaph(death: str, activity: str) -> Finding:
    if activity.startswith(IMPORTING):
        module = activity.removeprefix(IMPORTING)
        mend = (f'python -X faulthandler -c "import {module}"  # shows where', f"{REINSTALL} {module}")
        return Finding("bad", module, f"cannot be imported: {death}", mend)
    return Finding("bad", "crashed", f"{death}{' while ' + activity if activity else ''}", (ISSUE,))


class Waiting:
    """On a terminal, says what is done if it takes longer than a second, and wipes it away afterwards."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._began = time.monotonic()
        self._shown = ""

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def say(self, activity: str) -> None:
        """Show what is done now, in place of what was shown before."""
        text = f"{self.title}: {activity or 'looking'} ..."
        if text != self._shown and time.monotonic() - self._began > SECONDS_BEFORE_SAYING and sys.stderr.isatty():
            self._shown = text
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
