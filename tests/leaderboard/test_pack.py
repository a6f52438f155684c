from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genembench.problem import Problem
from leaderboard.pack import pack, strip
from leaderboard.records import read_records
from tests.leaderboard.made_up import costs, measured

GOLD = [0.5, 1.25, 2.0, 3.5, 4.75, 5.0]
COSINES = [0.1, 0.3, 0.2, 0.7, 0.6, 0.9]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/me/models/llama", "llama"),
        ("/data/my models/llama/", "llama"),
        ("~/models/llama", "llama"),
        (r"C:\Users\me\llama", "llama"),
        ("sentence-transformers:/home/me/minilm", "sentence-transformers:minilm"),
        ("llm2vec:/m/base+/m/mntp", "llm2vec:base+mntp"),
        ("OSError: [Errno 28] No space left on device: '/home/me/out/x.csv'", None),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B"),
        ("hf:OWNER/NAME", "hf:OWNER/NAME"),
        ("infonce-mean.learning_rate=1e-3", "infonce-mean.learning_rate=1e-3"),
        ("", ""),
    ],
)
def test_a_path_is_cut_to_its_name_and_nothing_else_is(text: str, left: str | None) -> None:
    expected = "OSError: [Errno 28] No space left on device: 'x.csv'" if left is None else left
    assert strip({"given": [text]}) == {"given": [expected]}


def test_a_methods_settings_stay_as_they_were() -> None:
    assert strip({"method": {"config": {"prompt": "/ this / means"}}}) == {
        "method": {"config": {"prompt": "/ this / means"}}
    }


def test_the_platform_is_cut_to_system_and_processor() -> None:
    assert strip({"platform": "Linux-6.1.0-21-cloud-amd64-x86_64-with-glibc2.36"}) == {"platform": "Linux-x86_64"}
    assert strip({"platform": "macOS-15.1-arm64-arm-64bit"}) == {"platform": "macOS-arm64"}
    assert strip({"platform": "else"}) == {"platform": "else"}


def run(output: Path, **change: Any) -> Path:
    record = measured(output, "infonce-mean", {"Pairs": (GOLD, COSINES)})
    value = json.loads(record.source.read_text()) | change
    record.source.write_text(json.dumps(value))
    return record.source.parent


def test_a_packed_record_has_no_gold_score_no_path_and_no_weights(tmp_path: Path) -> None:
    folder = run(tmp_path / "out", configuration={"data_dir": "/home/me/sts", "output": "/home/me/out"})
    (folder / "log.txt").write_text("/home/me/secret")
    (folder / "encoder").mkdir()
    (folder / "encoder" / "encoder.json").write_text('{"weights": "/home/me"}')
    point = folder / "course" / "01"
    point.mkdir(parents=True)
    (point / "predictions").mkdir()
    (point / "predictions" / "Pairs.csv").write_bytes((folder / "predictions" / "Pairs.csv").read_bytes())
    score = json.loads((folder / "run.json").read_text())["scores"]
    averages = json.loads((folder / "run.json").read_text())["averages"]
    (point / "point.json").write_text(
        json.dumps(
            {"schema": 1, "stage": "contrast", "fraction": 0.5, "costs": costs(10), "scores": score}
            | {"averages": averages}
        )
    )
    [packed] = pack(read_records([tmp_path / "out"]), tmp_path / "packed", resamples=250)
    files = sorted(str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file())
    assert files == ["course/01/point.json", "course/01/replicates.npz", "replicates.npz", "run.json"]
    for file in files:
        content = (packed / file).read_bytes()
        assert b"/home/me" not in content
    assert json.loads((packed / "run.json").read_text())["configuration"] == {"data_dir": "sts", "output": "out"}
    with np.load(packed / "replicates.npz", allow_pickle=False) as stored:
        shapes = {name: stored[name].shape for name in stored.files}
    # Nothing there is as long as the pairs are many.
    assert shapes.pop("replicates") == (1, 250)
    assert max(max(shape, default=0) for shape in shapes.values()) == 1


def test_packing_again_gives_the_same_bytes_and_replaces(tmp_path: Path) -> None:
    run(tmp_path / "out")
    for name in ("a", "b"):
        pack(read_records([tmp_path / "out"]), tmp_path / name, resamples=250)
    [first], [second] = (sorted((tmp_path / name / "runs").iterdir()) for name in ("a", "b"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
    (second / "stray").write_text("x")
    pack(read_records([tmp_path / "out"]), tmp_path / "b", resamples=250)
    assert sorted(path.name for path in second.iterdir()) == sorted(path.name for path in first.iterdir())
    # A packed record packs again: to publish one part of what was packed.
    [third] = pack(read_records([tmp_path / "a"]), tmp_path / "c", resamples=250)
    assert (third / "replicates.npz").read_bytes() == (first / "replicates.npz").read_bytes()


def test_predictions_are_copied_where_asked(tmp_path: Path) -> None:
    folder = run(tmp_path / "out")
    [packed] = pack(read_records([tmp_path / "out"]), tmp_path / "packed", predictions=True)
    assert sorted(path.name for path in packed.iterdir()) == ["predictions", "run.json"]
    assert (packed / "predictions" / "Pairs.csv").read_bytes() == (folder / "predictions" / "Pairs.csv").read_bytes()


def test_a_record_is_never_packed_over_itself(tmp_path: Path) -> None:
    folder = run(tmp_path / "out")
    before = sorted(folder.rglob("*"))
    with pytest.raises(Problem, match="into itself"):
        pack(read_records([tmp_path / "out"]), tmp_path / "out")
    assert sorted(folder.rglob("*")) == before


def test_a_failure_leaves_no_partial_folder(tmp_path: Path) -> None:
    folder = run(tmp_path / "out")
    (folder / "predictions" / "Pairs.csv").write_text("pair,gold,score\nbroken\n")
    with pytest.raises(Problem, match=r"Pairs\.csv"):
        pack(read_records([tmp_path / "out"]), tmp_path / "packed")
    assert list((tmp_path / "packed" / "runs").iterdir()) == []
