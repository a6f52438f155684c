from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genembench.problem import Problem
from genembench.settings import is_settings_file, read_settings, refuse_unknown

SETTINGS = {"name": "mine", "tasks": ["a", "b"], "nested": {"rate": 0.001, "on": True}, "n": 3}
WRITTEN = {
    "a.toml": 'name = "mine"\ntasks = ["a", "b"]\nn = 3\n[nested]\nrate = 1e-3\non = true\n',
    "a.TOML": 'name = "mine"\ntasks = ["a", "b"]\nn = 3\n[nested]\nrate = 1e-3\non = true\n',
    "a.yaml": "name: mine\ntasks: [a, b]\nn: 3\nnested:\n  rate: 0.001\n  'on': true\n",
    "a.yml": "name: mine\ntasks:\n- a\n- b\nn: 3\nnested: {rate: 1.0e-3, 'on': yes}\n",
    "a.json": json.dumps(SETTINGS, indent="\t"),
    "a.JSON": json.dumps(SETTINGS).replace("0.001", "1e-3"),
    "no ending": "name: mine\ntasks: [a, b]\nn: 3\nnested: {rate: 0.001, 'on': true}\n",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(WRITTEN[name])
    assert read_settings(tmp_path / name, "--config") == SETTINGS


def test_json_is_read_as_json(tmp_path: Path) -> None:
    # YAML would take the number for a word, and the two halves of a character for two characters.
    (tmp_path / "a.json").write_text('{"rate": 1e-4, "folder": "\\ud83d\\ude00"}')
    assert read_settings(tmp_path / "a.json", "--config") == {"rate": 0.0001, "folder": "😀"}


def test_keys_are_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("1: one\n")
    assert read_settings(tmp_path / "a.yaml", "--config") == {"1": "one"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", "a: [1\n", "a.yaml: while parsing"),
        ("a.yaml", "a: 2001-99-99\n", "a.yaml: month must be in 1..12"),
        ("a.yaml", "a: !!python/object:os.system x\n", "a.yaml: could not determine a constructor"),
        ("a.toml", "a = \n", "a.toml: Invalid value"),
        ("a.json", '{"a": 1,}', "a.json: "),
        ("a.yaml", b"a: caf\xe9\n", "a.yaml: 'utf-8' codec"),
        ("a.yaml", "- a\n- b\n", "a.yaml holds no settings"),
        ("a.yaml", "", "a.yaml holds no settings"),
        ("a.json", '"a"', "a.json holds no settings"),
    ],
)
def test_what_holds_no_settings_is_refused_in_one_line(tmp_path: Path, name: str, content: Any, said: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Problem) as caught:
        read_settings(tmp_path / name, "--preset")
    assert caught.value.what.startswith(f"--preset {tmp_path / name[0]}")
    assert said in caught.value.what
    assert "\n" not in caught.value.what
    assert caught.value.hint


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for name, said in (("none.toml", "No such file"), ("folder.yaml", "Is a directory")):
        with pytest.raises(Problem, match=said):
            read_settings(tmp_path / name, "--config")


def test_a_file_is_told_from_a_name_by_its_ending() -> None:
    assert all(map(is_settings_file, ["a.toml", "b/c.YAML", "d.yml", "run.json"]))
    assert not any(map(is_settings_file, ["small", "demo", "mteb:STS12", "a.jsonl", "toml", "a.txt"]))


def test_an_unknown_value_names_what_was_meant() -> None:
    refuse_unknown(["a", "b"], iter(["a", "b", "c"]), "letter:")
    with pytest.raises(Problem, match="unknown letter: 'taks'") as caught:
        refuse_unknown(["name", "taks"], ["tasks", "name"], "letter:")
    assert caught.value.hint.startswith("Did you mean tasks?")
