from __future__ import annotations

import pytest

from genembench.problem import Problem
from runners import compare, evaluate
from runners.engine import check_cross_entropy
from runners.prepare import make_engine


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Packages that are there; nobody interprets Triton."""
    packages = {"liger_kernel"}
    monkeypatch.setattr("runners.engine.find_spec", lambda name: name if name in packages else None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    return packages


def test_ligers_kernel_needs_a_gpu_or_the_interpreter(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    check_cross_entropy("torch", "cpu")
    check_cross_entropy("liger", "cuda")
    with pytest.raises(Problem, match="need a GPU, and the device is cpu") as caught:
        check_cross_entropy("liger", "cpu")
    assert "--cross-entropy torch" in caught.value.hint
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    check_cross_entropy("liger", "cpu")


def test_liger_is_not_installed(installed: set[str]) -> None:
    installed.clear()
    check_cross_entropy("torch", "cuda")
    with pytest.raises(Problem, match="liger_kernel is not installed") as caught:
        check_cross_entropy("liger", "cuda")
    assert caught.value.hint == "pip install -e '.[liger]' -c constraints.txt"


def test_commands_refuse_it_before_they_do_anything(installed: set[str]) -> None:
    options = compare.parser().parse_args(["--methods=untrained-mean", "--device=cpu", "--cross-entropy=liger"])
    with pytest.raises(Problem, match="--cross-entropy liger"):
        make_engine(options)
    # What trains nothing has no such option, and torch's.
    assert make_engine(evaluate.parser().parse_args(["--encoder=e", "--device=cpu"])).cross_entropy == "torch"
