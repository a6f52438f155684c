"""Where genembench keeps what it made once and can make again: outside any output folder, shared by all."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$GENEMBENCH_CACHE``, else ``genembench`` in the user's cache (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    own = os.environ.get("GENEMBENCH_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "genembench"
