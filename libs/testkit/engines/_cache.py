"""Where things live that outlast a checkout: jars, class archives, data of running engines."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """$FP_CACHE, else $XDG_CACHE_HOME/fraud-platform, else ~/.cache/fraud-platform; the Makefile uses the same folder."""
    explicit = os.environ.get("FP_CACHE")
    if explicit:
        return Path(explicit).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "fraud-platform"


def folder(*parts: str) -> Path:
    """A folder of the cache, made if it is missing."""
    path = cache_root().joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
