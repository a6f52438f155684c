"""Published LLM2Vec folders as the package llm2vec loads them: base, two adapters, and the chat wrapper by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from methods.encoder import Encoder
from methods.published import Published
from runners.engine import Engine
from runners.published import find_published
from tests.parity.recording import Recording, assert_close


@pytest.fixture(scope="module")
def recorded(recordings: Path) -> Recording:
    """What the package llm2vec computes, with the folders that it computed from."""
    folder = recordings / "llm2vec"
    if not (folder / "published").is_dir():
        pytest.skip(f"no recording of published folders in {folder} (make parity-llm2vec makes one)")
    return Recording.load(folder, recordings / "backbone")


@pytest.fixture
def folders(recorded: Recording, tmp_path: Path) -> Path:
    """A copy of base, mntp and supervised: the place that the adapters name for their base is no more."""
    copy = tmp_path / "published"
    shutil.copytree(recorded.folder / "published", copy)
    for name in ("mntp", "supervised"):
        file = copy / name / "adapter_config.json"
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings["base_model_name_or_path"] = f"{tmp_path}/moved/{Path(settings['base_model_name_or_path']).name}"
        file.write_text(json.dumps(settings), encoding="utf-8")
    return copy


def assert_encodes(encoder: Encoder, recorded: Recording, key: str) -> None:
    """Hold an encoder with the recorded instruction against recorded vectors, which were not normalised."""
    assert isinstance(encoder.method, Published)
    encoder.method = replace(encoder.method, instruction=recorded.cases["instruction"])
    found = torch.from_numpy(encoder.encode(recorded.cases["encode"], "symmetric"))
    assert_close(key, found, normalize(recorded.expected[key], dim=-1))


def test_one_adapter(recorded: Recording, folders: Path) -> None:
    assert_encodes(find_published(str(folders / "mntp")).load(Engine()), recorded, "published.mntp")


@pytest.mark.parametrize("parts", [("mntp", "supervised"), ("base", "mntp", "supervised")])
def test_two_adapters(recorded: Recording, folders: Path, parts: tuple[str, ...]) -> None:
    model = find_published("+".join(str(folders / part) for part in parts))
    assert_encodes(model.load(Engine()), recorded, "published.supervised")


def test_the_chat_wrapper_follows_the_recorded_name(recorded: Recording, folders: Path) -> None:
    names = recorded.cases["published"]["prompted"]
    assert names
    file = folders / "mntp" / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    for number, name in enumerate(names):
        file.write_text(json.dumps(settings | {"_name_or_path": name}), encoding="utf-8")
        model = find_published(f"{folders / 'mntp'}+{folders / 'supervised'}")
        assert_encodes(model.load(Engine()), recorded, f"published.prompted.{number}")
