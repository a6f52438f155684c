"""Encodes with an exported folder in a process that knows sentence-transformers and nothing of genembench.

Run as a script: ``python -P fresh.py REQUEST OUTPUT``. REQUEST is JSON: the folder, the texts of each role, the device,
whether code in the folder may run. OUTPUT becomes an ``.npz`` of vectors ``[N, D]``, ``ROLE-together`` and
``ROLE-alone``, and ``facts``, JSON: what was found of precision, attention and imported modules.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

OURS = ("benchmarks", "genembench", "leaderboard", "methods", "runners", "tests")


class Absent(MetaPathFinder):
    """Finds nothing of genembench, wherever it is installed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Refuse our own packages, and leave all others to whoever comes next."""
        if fullname.partition(".")[0] in OURS:
            raise ModuleNotFoundError(f"no module named {fullname!r}: it is kept from this process", name=fullname)


def main(request_file: str, output: str) -> None:
    """Load the folder and encode the texts of each role, in padded batches and one by one."""
    sys.meta_path.insert(0, Absent())
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    model = SentenceTransformer(
        request["folder"], device=request["device"], trust_remote_code=request["trust"], local_files_only=True
    )
    encode: dict[str, Any] = {"symmetric": model.encode, "query": model.encode_query, "document": model.encode_document}
    found: dict[str, Any] = {}
    for role, texts in request["texts"].items():
        found[f"{role}-together"] = encode[role](texts, batch_size=16)
        found[f"{role}-alone"] = np.stack([encode[role](text) for text in texts])
    body: Any = model.transformers_model
    facts = {
        "dtype": str(next(body.parameters()).dtype),
        "sees_ahead": [sees_ahead(body, torch, padded=padded) for padded in (False, True)],
        "ours": sorted(name for name in sys.modules if name.partition(".")[0] in OURS),
        "longest": model.max_seq_length,
    }
    found["facts"] = np.array(json.dumps(facts))
    np.savez(output, **found)


def sees_ahead(body: Any, torch: Any, *, padded: bool) -> bool:
    """Whether the first token's hidden state changes with the last token."""
    rows = body.get_input_embeddings().num_embeddings
    ids = [rows * i // 7 for i in range(1, 6)]
    states = []
    for last in (ids[-1], rows * 6 // 7):
        row = torch.tensor([[*ids[:-1], last] + [0] * padded], device=body.device)
        mask = torch.ones_like(row)
        mask[:, len(ids) :] = 0
        with torch.inference_mode():
            states.append(body(input_ids=row, attention_mask=mask, use_cache=False)[0][0, 0].float())
    one, other = states
    return bool(((one - other).abs() > 1e-4 * (one.abs() + other.abs())).float().mean() > 0.5)


def run(arguments: Sequence[str]) -> None:
    """Run the script."""
    main(*arguments)


if __name__ == "__main__":
    run(sys.argv[1:])
