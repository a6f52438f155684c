"""Where the recordings lie; the tests here skip where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.parity.recording import Recording


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder named by ``GENEMBENCH_PARITY``, else ``shared/parity`` next to the checkout."""
    folder = Path(os.environ.get("GENEMBENCH_PARITY") or CHECKOUT.parent / "shared" / "parity")
    if not folder.is_dir():
        pytest.skip(f"no recordings of the authors' code: {folder} is no folder (set GENEMBENCH_PARITY)")
    return folder


@pytest.fixture(scope="session")
def recorded(recordings: Path) -> Recording:
    """What the released AutoRegEmbed computes."""
    folder = recordings / "autoregembed"
    if not folder.is_dir():
        pytest.skip(f"no recordings of AutoRegEmbed: {folder} is no folder")
    return Recording.load(folder, recordings / "backbone")
