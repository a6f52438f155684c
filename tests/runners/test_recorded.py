"""What a record names, found again: what it says of trust is its maker's, not the reader's."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from genembench.problem import Problem
from runners.recorded import RecordedRun


@pytest.mark.parametrize(
    ("recorded", "trusted", "refusal"),
    [
        (True, True, None),
        (True, False, "was scored with --trust-remote-code"),
        # The reader's trust runs nothing that the run did not run.
        (False, True, "brings Python code of its own"),
        (False, False, "brings Python code of its own"),
    ],
)
def test_code_of_a_recorded_model_is_trusted_by_the_run_and_by_who_reads_its_record_or_not_at_all(
    tmp_path: Path, recorded: bool, trusted: bool, refusal: str | None
) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "mine.Mine"}]))
    (tmp_path / "mine.py").touch()
    record: Any = None
    run = RecordedRun(record, {}, [], trust_remote_code=trusted)
    run.__dict__["options"] = Namespace(methods=[f"sentence-transformers:{tmp_path}"], trust_remote_code=recorded)
    if refusal is None:
        assert run.finished.address
    else:
        with pytest.raises(Problem, match=refusal):
            _ = run.finished.address
