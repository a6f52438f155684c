"""Whether the demo is still the same: every recorded score of it rests on these digests.

When one changes on purpose, print the new ones with ``python -m tests.benchmarks.demo.test_digests`` and put them here;
then make everything anew that was measured on the demo: the numbers of docs/demo.md, docs/results and the README, and
the margins of tests/runners/test_compare_demo.py. A new digest of `text` also makes another backbone. When one changes
without a purpose, find out why: the same code makes the same demo on every machine and in every Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks.demo.rows import ROWS, demo_rows
from benchmarks.demo.tasks import RETRIEVAL, STS, retrieval, sts_pairs

DIGESTS = {
    "triplets": "77184e0d23160ef518dd63043a485f85b582413c900680c851fcbfdeb27817e2",
    "instruct": "68773821ed0530c0e49a83b3e11ca187b7a90bb10663427d3de06acf065af8f5",
    "pairs": "2db547d0fb9e84df34fd275fb92f44e41fc4d539cbba8bd58f3ba417bc892a44",
    "text": "5c8759166bb29752535366d9a4699129d0e3b83eddaaf1337a62173d94730d1d",
    "DemoParaphrase": "743ac31214cba2059f049d37f27aebcb0d3ae07778aea3c0675983f3ccd9327c",
    "DemoRoles": "eda43d38b950d92a6ada2dcaf1cbfebcdff7b5e892f6f8cbb653cd8c844cc3cd",
    "DemoNegation": "aa04a88264acf8783355133db729f75e91da06783e9ee32cabf08bb601af32e0",
    "DemoTopic": "83e09da2ea45066836d4e15fe08ab0fadcc5931b2e469ce4c2fdfe591ebf4b42",
    "DemoDev": "e1adbacccd9161a6634b5bbc467e2def798b5cf43f4885966af2f3a445786e90",
    "DemoRetrieval": "4aeaa05e570988e07d186d0fa04b3040ddc3928a57f1927f2d2624d63438eba5",
}


@cache
def digests() -> dict[str, str]:
    """Return the SHA-256 of every kind of rows and of every task."""
    made = retrieval()
    content = {
        **{kind: demo_rows(kind) for kind in ROWS},
        **{task: sts_pairs(task) for task in STS},
        RETRIEVAL: [dict(made.queries), dict(made.corpus), dict(made.relevant)],
    }
    return {
        name: hashlib.sha256(json.dumps(each, sort_keys=True).encode()).hexdigest() for name, each in content.items()
    }


def test_the_demo_is_the_recorded_one() -> None:
    assert digests() == DIGESTS


def test_another_process_with_another_hash_seed_makes_the_same() -> None:
    checkout = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") == "4711" else "4711"}
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == digests()


if __name__ == "__main__":
    print(json.dumps(digests(), indent=4))
