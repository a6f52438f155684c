from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.training_data import load_training_data
from methods.autoregembed import PROMPT
from methods.parts.backbone import load_tokenizer
from runners import compare

METHODS = "autoregembed,autoregembed-log-sigmoid,autoregembed-compress-only"


@pytest.fixture
def arguments(
    tiny_backbone: Path, tiny_triplets: Path, tiny_instruct: Path, tiny_sts: Path, tmp_path: Path
) -> list[str]:
    options = {
        "methods": METHODS,
        "backbone": tiny_backbone,
        "triplets": tiny_triplets,
        "instruct": tiny_instruct,
        "budget": "triplets=24,instruct=16",
        "preset": "small",
        "data-dir": tiny_sts,
        "tasks": "STS17",
        "device": "cpu",
        "output": tmp_path / "out",
    }
    return [*(f"--{name}={value}" for name, value in options.items()), "--dry-run"]


class Lengths:
    """What the rows are long in tokens, by the backbone's tokenizer alone, which knows none of the k tokens."""

    def __init__(self, backbone: Path) -> None:
        self.tokenizer: Any = load_tokenizer(backbone)
        assert "<EMBED0>" not in self.tokenizer.get_vocab()

    def of(self, text: str, instruction: str) -> int:
        parts = (
            len(self.tokenizer(part + "\n", add_special_tokens=False)["input_ids"]) for part in (text, instruction)
        )
        return 1 + sum(parts) + 5


def test_a_method_with_tokens_of_its_own_is_estimated_before_they_exist(
    arguments: list[str],
    tiny_backbone: Path,
    tiny_triplets: Path,
    tiny_instruct: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    length = Lengths(tiny_backbone).of
    rows = load_training_data("instruct", tiny_instruct, mapping={}, seed=0, held_out=None).rows[:16]
    # Two epochs in the preset.
    compress = 2 * sum(length(row["context"], row["instruction"]) for row in rows)
    triplets = load_training_data("triplets", tiny_triplets, mapping={}, seed=0, held_out=None).rows[:24]
    align = sum(length(row["query"], PROMPT) + length(row["positive"], PROMPT) for row in triplets)
    assert [line.split()[0] for line in lines[1:4]] == METHODS.split(",")
    columns = [re.search(r"([\d,]+) +[\d.,]+  to run", line) for line in lines[1:4]]
    tokens = [int(found[1].replace(",", "")) for found in columns if found]
    # Compression is paid by the first; the others stand on it.
    assert tokens == [compress + align, align, 0]
    assert "3 runs, 3 to do" in lines[4]
    assert not (tmp_path / "out").exists()
