"""Methods from installed packages: real ones, installed by pip into an environment of their own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runners.new_method import write
from tests.conftest import CHECKOUT, Finished, command_environment

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "1.0"

[project.entry-points."genembench.methods"]
methods = "{module}"

[tool.setuptools]
py-modules = ["{module}"]
"""

Run = Callable[..., Finished]


def package(folder: Path, name: str, source: str = "") -> Path:
    """Write a package of one module, the example of `genembench new-method` unless there is a ``source``."""
    root, module = folder / name, name.replace("-", "_")
    root.mkdir()
    (root / "pyproject.toml").write_text(PROJECT.format(name=name, module=module))
    if source:
        (root / f"{module}.py").write_text(source)
    else:
        write("plugged-in", root / f"{module}.py")
    return root


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that sees this one's libraries, so nothing has to be downloaded."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=False)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    libraries = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    lines = [f"import site; site.addsitedir({library!r})\n" for library in libraries]
    (Path(paths["purelib"]) / "libraries.pth").write_text("".join(lines))
    return Path(paths["scripts"]) / "python"


@pytest.fixture(scope="module")
def start(python: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command in that environment."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        # This checkout's packages, should another one be installed.
        environment = command_environment(PYTHONPATH=str(CHECKOUT))
        command = [str(python), "-P", "-m", "genembench", *arguments]
        return subprocess.Popen(
            command, cwd=python.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def pip(python: Path, *arguments: str | Path) -> None:
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "--python", python, "install", *offline, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def finished(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    outputs = [process.communicate(timeout=180) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def test_installed_methods(python: Path, start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    good = package(tmp_path, "good-plug-in")
    broken = package(tmp_path, "broken-plug-in", "raise RuntimeError('no luck today')\n")
    pip(python, good, broken)
    listed, described, checked = finished(
        [start("methods"), start("methods", "plugged-in"), start("check", "plugged-in")]
    )

    code, out, err = listed
    assert (code, err) == (0, "")
    names = [line.split()[0] for line in out.splitlines()]
    assert {"plugged-in", "infonce-mean", "untrained-last"} <= set(names)
    assert out.splitlines()[-1] == (
        "not loaded: plug-in broken_plug_in of broken-plug-in (RuntimeError: no luck today)"
    )

    code, out, err = described
    assert (code, err) == (0, "")
    assert "\n  from plug-in good_plug_in of good-plug-in\n" in out

    code, out, err = checked
    assert (code, err) == (0, ""), out
    assert out.splitlines()[-1].startswith("plugged-in keeps the contract: 11 of 11 checks")

    taken = package(
        tmp_path, "greedy-plug-in", (good / "good_plug_in.py").read_text().replace("plugged-in", "infonce-mean")
    )
    pip(python, taken)
    ((code, out, err),) = finished([start("methods")])
    assert (code, out) == (2, "")
    assert "two methods are called 'infonce-mean'" in err
    assert "one from methods/infonce.py, one from plug-in greedy_plug_in of greedy-plug-in" in err
    assert "Traceback" not in err
