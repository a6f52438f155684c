"""What `doctor` finds out about the installation: versions, hub, disk, extras, methods."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib import metadata
from pathlib import Path
from typing import Any

from genembench.problem import Problem
from runners.probes import CONSTRAINTS, INSTALL, REINSTALL, Finding, Mark, Unusable, announce, describe, load

PACKAGE = "genembench"
ROOT = Path(__file__).resolve().parents[1]
GIGABYTE = 1e9
NOTE_BELOW = 5 * GIGABYTE
BAD_BELOW = 0.5 * GIGABYTE
FEW = 3
OFFLINE_WORK = "genembench compare --backbone FOLDER --data-dir FOLDER ...  # needs no hub"


@dataclass(frozen=True)
class Need:
    """A requirement: a package, the versions that will do, and the extra that asks for it (or "")."""

    name: str
    versions: str
    extra: str = ""

    @property
    def folded(self) -> str:
        """The name as indexes compare it."""
        return fold(self.name)


def fold(name: str) -> str:
    """Spell a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_need(text: str) -> Need | None:
    """Read a requirement as metadata writes it; None if it is not for this Python or system."""
    extra = re.search(r"""extra\s*==\s*["']([^"']+)["']""", text)
    name = re.match(r"[A-Za-z0-9._-]+", text.strip())
    if name is None:
        return None
    try:
        from packaging.requirements import Requirement

        requirement = Requirement(text)
    except Exception:  # packaging is somebody else's dependency: missing, or it cannot read this
        return Need(name[0], "", extra[1] if extra else "")
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra[1] if extra else ""}):
        return None
    return Need(requirement.name, str(requirement.specifier), extra[1] if extra else "")


def satisfies(version: str, versions: str) -> bool:
    """Whether a version is one of those that will do; unknown is yes."""
    try:
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(versions).contains(version, prereleases=True)
    except Exception:  # no packaging, or a version that nobody can compare
        return True


def installed(name: str) -> str | None:
    """Return a distribution's version, or None where it is missing or its metadata is damaged."""
    try:
        return metadata.version(name) or None
    except Exception:  # PackageNotFoundError, and whatever a half-deleted folder leads to
        return None


def needs_of(name: str) -> list[Need]:
    """Return what an installed distribution requires, extras included."""
    try:
        texts = metadata.requires(name) or []
    except Exception:  # as in `installed`
        return []
    return [need for text in texts if (need := read_need(text)) is not None]


@functools.cache
def project_file() -> dict[str, Any]:
    """Return ``[project]`` of pyproject.toml if we run from a checkout, else nothing."""
    try:
        import tomllib

        project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except Exception:  # no checkout, or one that is being edited
        return {}
    return project if project.get("name") == PACKAGE else {}


def project_needs() -> list[Need]:
    """Return what pyproject.toml requires, if we run from a checkout."""
    project = project_file()
    texts = list(project.get("dependencies", []))
    for extra, wanted in project.get("optional-dependencies", {}).items():
        texts += [f'{text}; extra == "{extra}"' for text in wanted]
    return [need for text in texts if (need := read_need(text)) is not None]


def our_needs() -> list[Need]:
    """Return what genembench requires: pyproject.toml in a checkout, since metadata age there, else the metadata."""
    return project_needs() or needs_of(PACKAGE)


def versions() -> Iterator[Finding]:
    """genembench, Python, and every package that is required: its version, and whether it can be imported."""
    yield from _genembench()
    yield _python()
    needs = [need for need in our_needs() if not need.extra]
    if not needs:
        yield Finding("bad", "packages", "what genembench requires cannot be read: it is not installed", (INSTALL,))
        return
    broken = set()
    try:
        load("packaging.requirements")
    except Unusable as error:
        broken.add("packaging")
        text = f"cannot be imported, so versions are not compared with what is required: {error.reason}"
        yield Finding("bad", "packaging", text, (f"{REINSTALL} packaging",))
    have = {need: installed(need.name) for need in needs}
    right = {need: version for need, version in have.items() if version and satisfies(version, need.versions)}
    for need, version in have.items():
        if version is None:
            yield Finding("bad", need.name, f"missing, needs {need.versions or 'any version'}", (INSTALL,))
        elif need not in right:
            yield Finding("bad", need.name, f"{version} does not do, needs {need.versions}", (INSTALL,))
    if right:
        yield Finding("ok", "packages", ", ".join(f"{need.name} {version}" for need, version in right.items()))
    yield from _imports([need for need, version in have.items() if version], broken)


def _genembench() -> Iterator[Finding]:
    version = installed(PACKAGE)
    project = project_file()
    commit = _commit() if project else ""
    if version is None:
        yield Finding("bad", PACKAGE, f"not installed in this Python ({sys.executable}){commit}", (INSTALL,))
        return
    yield Finding("ok", PACKAGE, f"{version}{commit}")
    before, now = set(needs_of(PACKAGE)), set(project_needs())
    if project and (before != now or version != project.get("version")):
        names = sorted({need.name for need in before ^ now}) or ["its version"]
        yield Finding("note", "metadata", f"older than pyproject.toml in {', '.join(names)}: install again", (INSTALL,))


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        # A checkout's own repository, not one that happens to lie above it.
        if not (ROOT / ".git").exists():
            return ", checkout"
        changed = " with local changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return f", commit {git('rev-parse', '--short=10', 'HEAD')}{changed}"
    except (OSError, subprocess.SubprocessError):
        return ", checkout (its commit cannot be read)"


def _python() -> Finding:
    wanted = str(project_file().get("requires-python", ""))
    if not wanted:
        try:
            wanted = metadata.metadata(PACKAGE)["Requires-Python"] or ""
        except Exception:  # as in `installed`
            wanted = ""
    version = platform.python_version()
    where = "" if sys.prefix != sys.base_prefix else ", no virtual environment"
    text = f"{version} (needs {wanted or 'an unknown version'}), {platform.system()} {platform.machine()}{where}"
    if satisfies(version, wanted):
        return Finding("ok", "Python", text)
    return Finding("bad", "Python", text, (f"python3.11 -m venv .venv && . .venv/bin/activate && {INSTALL}",))


def _imports(needs: list[Need], broken: set[str]) -> Iterator[Finding]:
    """Import what is installed, foundations first: what stands on a broken one is not to blame."""
    names = {need.folded: need.name for need in needs}
    parts = {folded: needs_of(name) for folded, name in names.items()}
    firm = {folded: {each.folded for each in parts[folded] if not each.extra} & set(names) for folded in names}
    try:
        order = list(TopologicalSorter(firm).static_order())
    except CycleError:
        order = list(names)
    fallen = []
    for folded in order:
        try:
            load(module_of(names[folded]))
        except Unusable as error:
            # What an extra of it wants counts too: transformers calls torch one.
            if broken & {each.folded for each in parts[folded]}:
                fallen.append(names[folded])
            else:
                text = f"cannot be imported: {error.reason}"
                yield Finding("bad", names[folded], text, (f"{REINSTALL} {names[folded]}",))
            broken.add(folded)
    if fallen:
        yield Finding("note", "as well", f"cannot be imported, since they use what is broken: {', '.join(fallen)}")
    if not broken:
        yield Finding("ok", "imports", f"all {len(order)} packages can be imported")


def module_of(name: str) -> str:
    """Return the module that a distribution is imported by."""
    likely = fold(name).replace("-", "_")
    try:
        if importlib.util.find_spec(likely) is not None:
            return likely
        # scikit-learn is sklearn, and its wheel does not list that anywhere but in its files.
        found = metadata.packages_distributions().items()
        listed = sorted(module for module, owners in found if fold(name) in map(fold, owners))
    except Exception:  # as in `installed`
        return likely
    return next((module for module in listed if not module.startswith("_")), likely)


def hub() -> Iterator[Finding]:
    """Whether the Hugging Face hub answers, and what is set for it."""
    package = load("huggingface_hub")
    constants = load("huggingface_hub.constants")
    if constants.HF_HUB_OFFLINE:
        name = next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)), "offline")
        text = f"{constants.ENDPOINT} not asked, {name} is set: only what is in the cache can be used"
        yield Finding("note", "hub", text, (f"unset {name}", OFFLINE_WORK))
    else:
        from benchmarks.hub import hub_out_of_reach

        announce(f"asking {constants.ENDPOINT}")
        reason = hub_out_of_reach()
        announce("")
        if reason:
            mend = ("export HTTPS_PROXY=http://PROXY:PORT  # or HF_ENDPOINT=https://MIRROR", OFFLINE_WORK)
            yield Finding("note", "hub", reason[:300], mend)
        else:
            yield Finding("ok", "hub", f"{constants.ENDPOINT} answers; HF_HUB_OFFLINE is not set")
    if package.get_token():
        yield Finding("ok", "login", "a token is there (yes), not shown here")
    else:
        yield Finding("note", "login", "no token; only gated models need one (Llama, Gemma)", ("hf auth login",))
    folder = Path(constants.HF_HUB_CACHE)
    state = f"{_size(shutil.disk_usage(_existing(folder)).free)} free" + ("" if folder.exists() else ", not made yet")
    yield Finding("ok", "cache", f"{folder}: {state}")


def disk() -> Iterator[Finding]:
    """Free space where genembench writes, found by writing."""
    try:
        yield space("here", Path.cwd(), "cd FOLDER  # or give --output FOLDER on another disk")
    except OSError as error:
        yield Finding("bad", "here", f"the current folder cannot be read: {describe(error)}", ("cd FOLDER",))
    try:
        yield space("temp", Path(tempfile.gettempdir()), "export TMPDIR=FOLDER  # on another disk")
    except OSError as error:
        yield Finding("bad", "temp", describe(error), ("export TMPDIR=FOLDER  # a folder that can be written",))
    try:
        folder = Path(load("huggingface_hub.constants").HF_HUB_CACHE)
    except Unusable:
        folder = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    yield space("hub cache", folder, "export HF_HOME=FOLDER  # on another disk")


def space(name: str, folder: Path, mend: str) -> Finding:
    """Say how much is free for a folder that may not exist yet, and whether it can be written."""
    there = _existing(folder)
    try:
        free = shutil.disk_usage(there).free
        with tempfile.TemporaryFile(dir=there) as file:
            # Quotas and full disks speak up only when something is really written.
            file.write(b"\0" * 65536)
            file.flush()
    except OSError as error:
        return Finding("bad", name, f"{folder} cannot be written: {describe(error)}", (mend,))
    mark: Mark = "bad" if free < BAD_BELOW else "note" if free < NOTE_BELOW else "ok"
    advice = {"ok": "", "note": ": little, models take several GB", "bad": ": too little"}[mark]
    return Finding(mark, name, f"{folder}: {_size(free)} free, can be written{advice}", (mend,) if advice else ())


def _existing(folder: Path) -> Path:
    return next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), Path("/"))


def _size(number: float) -> str:
    return f"{number / GIGABYTE:,.1f} GB" if number >= GIGABYTE else f"{number / 1e6:,.0f} MB"


def extras() -> Iterator[Finding]:
    """What is optional: each extra's packages."""
    needs = our_needs()
    names = list(dict.fromkeys(need.extra for need in needs if need.extra))
    if not project_file():
        with suppress(Exception):  # as in `installed`
            names = metadata.metadata(PACKAGE).get_all("Provides-Extra") or names
    for extra in names:
        lacking = []
        having = []
        for need in (need for need in needs if need.extra == extra):
            version = installed(need.name)
            if version and satisfies(version, need.versions):
                having.append(f"{need.name} {version}")
            else:
                lacking.append(f"{need.name}{need.versions}" + (f" (has {version})" if version else ""))
        if lacking:
            use = "; only used on a GPU" if extra == "flash" else ""
            yield Finding("note", extra, f"missing: {', '.join(lacking)}{use}", extra_commands(extra))
        else:
            # The many of a developer tell a reader nothing.
            text = ", ".join(having) if len(having) <= FEW else f"all {len(having)} packages are there"
            yield Finding("ok", extra, text)


def extra_commands(extra: str) -> tuple[str, ...]:
    """Return the commands that install an extra."""
    if extra != "flash":
        return (f"pip install -e '.[{extra}]' {CONSTRAINTS}",)
    # flash-attn's setup.py imports torch, which pip hides from it unless told not to, and these packages.
    wanted = " ".join(f"'{need.name}{need.versions}'" for need in our_needs() if need.extra == extra)
    return (f"pip install setuptools wheel packaging psutil ninja && pip install --no-build-isolation {wanted}",)


def methods() -> Iterator[Finding]:
    """How many methods there are, and the plug-ins that could not be loaded."""
    for module in ("torch", "transformers", "numpy"):
        load(module)
    from methods.registry import discover

    try:
        registry = discover()
    except Problem as problem:
        yield Finding("bad", "methods", problem.what, (problem.hint,) if problem.hint else ())
        return
    yield Finding("ok", "methods", f"{len(registry.entries)} can be compared (genembench methods lists them)")
    for origin, reason in registry.broken:
        package = origin.rpartition(" of ")[2]
        yield Finding(
            "bad", "plug-in", f"{origin}: {reason}", (f"pip uninstall {package}  # or install one that loads",)
        )
