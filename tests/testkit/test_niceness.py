"""Processes that give way to others."""

import os
from pathlib import Path

import pytest

from testkit.harness import Process


def test_a_process_is_started_with_its_niceness_and_so_is_its_session(tmp_path: Path) -> None:
    process = Process("sleeper", ["sleep", "60"], {}, 0, tmp_path / "log", niceness=7)
    process.start()
    try:
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 7
        group = Path(f"/proc/{process.pid}/autogroup")
        if not group.exists():
            pytest.skip("this kernel shares cores out by process, not by session")
        assert group.read_text().endswith("nice 7\n")
        ours = Path("/proc/self/autogroup").read_text()
        assert ours.split()[0] != group.read_text().split()[0]
    finally:
        process.kill()


def test_nothing_gives_way_unasked(tmp_path: Path) -> None:
    process = Process("sleeper", ["sleep", "60"], {}, 0, tmp_path / "log")
    process.start()
    try:
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        process.kill()
