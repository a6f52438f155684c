"""What a record names, found again: what it says of trust is its maker's, not the reader's."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from genembench.problem import Problem
from runners.recorded import RecordedRun


def test_code_of_a_recorded_model_is_trusted_by_who_reads_the_record_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "mine.Mine"}]))
    (tmp_path / "mine.py").touch()
    record: Any = None
    options = Namespace(methods=[f"sentence-transformers:{tmp_path}"], trust_remote_code=True)
    for trusted in (False, True):
        run = RecordedRun(record, {}, [], trust_remote_code=trusted)
        run.__dict__["options"] = options
        if trusted:
            assert run.finished.address
        else:
            with pytest.raises(Problem, match="brings Python code of its own"):
                _ = run.finished.address
