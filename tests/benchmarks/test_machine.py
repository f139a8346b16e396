"""CPU is counted where it is spent: a contender's is the contender's, though it is a child of the benchmark."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import Meter, probe_disk
from spine.deadline import Deadline
from testkit.engines import EngineSet

_BURN = "while True: pass"


def test_a_contenders_cpu_is_its_own(engines: EngineSet) -> None:
    """A process that only burns CPU, beside a benchmark that only waits."""
    with subprocess.Popen([sys.executable, "-c", _BURN]) as contender:
        try:
            meter = Meter(engines, "postgres", [contender.pid])
            deadline = Deadline(60)
            while (spent := meter.spent()).cpu_s.get("contender", 0.0) < 0.5:
                deadline.check("burn half a second")
                time.sleep(0.05)
        finally:
            contender.kill()
    assert spent.cpu_s.get("benchmark", 0.0) < spent.cpu_s["contender"]
    assert "backends" not in spent.cpu_s or spent.cpu_s["backends"] < spent.cpu_s["contender"]


def test_the_disk_is_asked_where_the_engines_are(tmp_path: Path) -> None:
    """The probe leaves nothing behind."""
    fsync = probe_disk(tmp_path)
    assert 0 < fsync.median_ms <= fsync.p99_ms
    assert list(tmp_path.iterdir()) == []
