"""Backbones of many families, made once for all tests of methods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.methods.backbones import Kind


@pytest.fixture(scope="session")
def backbone(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    folder = tmp_path_factory.mktemp("backbones")

    def of(kind: Kind) -> Path:
        path = folder / str(kind)
        return path if path.exists() else kind.save(path, tiny_backbone)

    return of
