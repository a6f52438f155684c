from __future__ import annotations

import time

import pytest

from runners.progress import Progress


def test_a_log_gets_a_plain_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Progress("a: train", 0, "step") as bar:
        bar.begin(100, done=40)
        for done in range(41, 101):
            clock[0] += 1.0
            bar.to(done, f"loss {done}")
    lines = capsys.readouterr().err.splitlines()
    # Every 15 seconds; the rate is that of this process, not of the 40 steps an earlier one did.
    assert lines == [
        "a: train: 55 of 100 steps, 45 s left  loss 55",
        "a: train: 70 of 100 steps, 30 s left  loss 70",
        "a: train: 85 of 100 steps, 15 s left  loss 85",
    ]
