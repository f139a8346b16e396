"""Memory as a disk, for data that need not outlast the set but must outlast a kill of its engine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - the folder below it is made by mkdtemp, for this user only
# A million small rows need half of it; with less left, the disk is the safer place.
NEEDED_BYTES = 1 << 30


def make(data: Path) -> None:
    """Make `data` a link into memory where the machine has enough of it, else a plain folder."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= NEEDED_BYTES:
        data.symlink_to(tempfile.mkdtemp(prefix="fraud-platform-", dir=MEMORY))
    else:
        data.mkdir()


def discard(home: Path) -> None:
    """Remove the folder of a set and what its engines keep in memory."""
    for data in home.glob("*/data"):
        if data.is_symlink():
            shutil.rmtree(data.resolve(), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
