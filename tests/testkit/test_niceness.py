"""Processes that give way to others."""

import os
from pathlib import Path

import pytest

from testkit.harness import Process


def _group_of(pid: int) -> list[str]:
    """Name and niceness of a process's group of its session; nothing for a process outside any, as the first of a container often is."""
    group = Path(f"/proc/{pid}/autogroup")
    return group.read_text().split() if group.exists() else []


def test_a_process_is_started_with_its_niceness_and_so_is_its_session(tmp_path: Path) -> None:
    process = Process("sleeper", ["sleep", "60"], {}, 0, tmp_path / "log", niceness=7)
    process.start()
    try:
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 7
        group = _group_of(process.pid)
        if not group:
            pytest.skip("this kernel shares cores out by process, not by session")
        assert group[-2:] == ["nice", "7"]
        # Another group than ours: what was set for it takes nothing from the session that started it.
        assert group[0] not in _group_of(os.getpid())
    finally:
        process.kill()


def test_nothing_gives_way_unasked(tmp_path: Path) -> None:
    process = Process("sleeper", ["sleep", "60"], {}, 0, tmp_path / "log")
    process.start()
    try:
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        process.kill()
