"""``replicates.npz``: the scores of a run under each resample, for records shared without the pairs' gold scores.

The file holds arrays that ``numpy.load`` reads without pickle, in the order of its tasks:

======================  ============================================================
``format``              version of this format, 1
``tasks``               name of each task
``metrics``             its metric
``pairs``               its number of pairs or queries
``addresses``           hash of their ids and gold scores (``Predictions.address``)
``scores``              its score from all pairs, x100
``replicates``          its score under each resample, x100, float32 ``[tasks, resamples]``
======================  ============================================================

The resamples are those of ``leaderboard.resampling``, so the file fits unpacked runs over the same pairs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genembench.problem import Problem

FILE = "replicates.npz"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Packed:
    """One task of a packed run.

    Attributes:
        file: Where it stands.
        task: Name of the task.
        metric: What was measured.
        pairs: Number of pairs or queries.
        address: Hash of their ids and gold scores.
        score: From all of them, x100.
        replicates: The score under each resample, x100, exact in float32 ``[resamples]``.
    """

    file: Path
    task: str
    metric: str
    pairs: int
    address: str
    score: float
    replicates: NDArray[np.float64]


def read_packed(folder: Path, task: str) -> Packed | None:
    """Return a task of ``folder/replicates.npz``; None where there is no such file or it lacks the task.

    Raises:
        Problem: the file is damaged, or of another format.
    """
    file = folder / FILE
    try:
        with np.load(file, allow_pickle=False) as stored:
            version = int(stored["format"])
            if version != FORMAT:
                raise Problem(f"{file} has format {version}; this version of genembench reads {FORMAT}")
            arrays = {name: stored[name] for name in stored.files}
        return _task(file, arrays, task)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise Problem(f"{file} is damaged: {error}", "Fetch it again, or leave this record out.") from None


def _task(file: Path, arrays: dict[str, NDArray[Any]], task: str) -> Packed | None:
    """Take one task out of the arrays of a file."""
    names = arrays["tasks"].tolist()
    if len(names) != len(arrays["replicates"]):
        raise ValueError(f"{len(names)} tasks, but replicates of {len(arrays['replicates'])}")
    if task not in names:
        return None
    at = names.index(task)
    replicates = arrays["replicates"][at].astype(np.float64)
    if replicates.ndim != 1 or not np.isfinite(replicates).all():
        raise ValueError(f"the replicates of {task} are not a list of finite numbers")
    metric, address = str(arrays["metrics"][at]), str(arrays["addresses"][at])
    return Packed(file, task, metric, int(arrays["pairs"][at]), address, float(arrays["scores"][at]), replicates)


def packed_bytes(tasks: Sequence[Packed]) -> bytes:
    """Return the content of a file: the same bytes for the same tasks, on any machine and at any time."""
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT, "<i8"),
        "tasks": np.array([each.task for each in tasks], "<U"),
        "metrics": np.array([each.metric for each in tasks], "<U"),
        "pairs": np.array([each.pairs for each in tasks], "<i8"),
        "addresses": np.array([each.address for each in tasks], "<U"),
        "scores": np.array([each.score for each in tasks], "<f8"),
        "replicates": np.array([each.replicates for each in tasks], "<f4"),
    }
    whole = io.BytesIO()
    # Not compressed: random digits hardly shrink, and what a compressor makes of them depends on its version.
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # else it says which operating system wrote it
            archive.writestr(entry, member.getvalue())
    return whole.getvalue()
