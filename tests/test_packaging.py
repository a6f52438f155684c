"""What an installation contains."""

from __future__ import annotations

import tomllib

from tests.conftest import CHECKOUT


def test_every_package_is_installed() -> None:
    """Setuptools takes the packages that are listed, and leaves out a new folder without a word."""
    listed = set(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    roots = {name.split(".")[0] for name in listed}
    there = {
        ".".join(file.parent.relative_to(CHECKOUT).parts)
        for root in roots
        for file in (CHECKOUT / root).rglob("__init__.py")
    }
    assert listed == there
