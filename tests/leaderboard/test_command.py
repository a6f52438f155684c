from __future__ import annotations

from pathlib import Path

import pytest

from genembench.problem import Problem
from leaderboard.command import main
from tests.leaderboard.made_up import measured, run_json, write

GOLD = [0.5, 1.25, 2.0, 3.5, 4.75, 5.0, 1.0, 4.0]


def runs(output: Path) -> Path:
    measured(output, "infonce-mean", {"Pairs": (GOLD, [0.1, 0.3, 0.2, 0.7, 0.6, 0.9, 0.2, 0.5])})
    measured(output, "untrained-mean", {"Pairs": (GOLD, [0.5, 0.3, 0.8, 0.7, 0.1, 0.9, 0.6, 0.2])}, free=True)
    return output


def test_build_prints_the_table_and_where_the_files_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(runs(tmp_path / "a")), str(runs(tmp_path / "b"))]
    assert main(["build", *folders, "--output", str(tmp_path / "out"), "--resamples", "300"]) == 0
    shown = capsys.readouterr()
    assert "infonce-mean" in shown.out
    assert "2 of 2 runs done" in shown.out
    assert "leaderboard_wide.csv" in shown.out
    assert shown.err.count("stands in several folders") == 2
    assert (tmp_path / "out" / "significance.png").is_file()


def test_pack_then_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = str(tmp_path / "packed")
    assert main(["pack", str(runs(tmp_path / "a")), "--output", packed, "--resamples", "300"]) == 0
    assert "2 records packed" in capsys.readouterr().out
    assert main(["build", packed, "--output", str(tmp_path / "out"), "--resamples", "300"]) == 0
    # More than were kept cannot be had.
    with pytest.raises(Problem, match="300 resamples"):
        main(["build", packed, "--output", str(tmp_path / "out"), "--resamples", "400"])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--ablation", "infonce-mean"], "names no variants"),
        (["--ablation", "=infonce-mean"], "names no full method"),
        (["--ablation", "infonce-mean=unheard-of"], "unheard-of"),
    ],
)
def test_an_ablation_names_a_full_method_and_variants(tmp_path: Path, arguments: list[str], what: str) -> None:
    with pytest.raises(Problem, match=what):
        main(["build", str(runs(tmp_path / "a")), "--output", str(tmp_path / "out"), "--resamples", "300", *arguments])


def test_too_few_resamples_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in ("199", "x", "0"):
        with pytest.raises(SystemExit):
            main(["build", str(tmp_path), "--output", str(tmp_path / "out"), "--resamples", number])
    assert "from 200 to" in capsys.readouterr().err


def test_no_records_is_a_problem_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(Problem, match="there are no records"):
        main(["build", str(tmp_path), "--output", str(tmp_path / "out")])


def test_incomparable_records_are_refused_unless_mixed(tmp_path: Path) -> None:
    write(tmp_path / "a", run_json())
    write(tmp_path / "b", run_json("other", backbone="large-english"))
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(Problem, match="not comparable"):
        main(["build", *folders, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    assert main(["build", *folders, "--output", str(tmp_path / "out"), "--mixed"]) == 0
