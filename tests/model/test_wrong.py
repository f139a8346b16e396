"""The negative controls as programs: `python -m testkit.wrong <variant> <module>`."""

import signal
import subprocess
import sys

import pytest

from rig import Rig, entry
from spine import publisher
from spine.deadline import Deadline
from testkit.harness import Process, free_port, until, worker_process
from testkit.wrong import Wrong
from testkit.wrong.plants import NothingToPlantError, plant


def test_a_plant_that_finds_nothing_to_take_away_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_MARK", "UPDATE lane SET published_seq = $4 WHERE lane = $1 RETURNING 1")
    with pytest.raises(NothingToPlantError, match="epoch"):
        plant(Wrong.MARK_WITHOUT_EPOCH, monkeypatch.setattr)


def test_a_variant_is_planted_before_the_module_runs() -> None:
    argv = [sys.executable, "-m", "testkit.wrong", Wrong.MARK_WITHOUT_EPOCH, "platform", "--terse"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_a_variant_that_nobody_knows_is_refused_with_those_that_are() -> None:
    done = subprocess.run([sys.executable, "-m", "testkit.wrong", "KINDNESS", "platform"], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert Wrong.DEDUPE_OUTSIDE_TRANSACTION in done.stderr


async def test_a_worker_that_dedupes_outside_its_transaction_loses_what_it_was_killed_with(rig: Rig) -> None:
    """The same kill, with and without the rule: tests/spine/test_kill_points.py has it with."""
    await rig.send(entry("e1"), entry("e2"))
    doomed = _planted(rig, Wrong.DEDUPE_OUTSIDE_TRANSACTION, FP_FAULTS="KILL DEDUPED 1")
    doomed.start()
    await until(lambda: not doomed.alive, Deadline(30), "the worker to die")
    heir = _planted(rig, Wrong.DEDUPE_OUTSIDE_TRANSACTION)
    heir.start()
    try:
        await rig.quiet(2)
    finally:
        heir.send(signal.SIGTERM)
        await heir.ended(Deadline(20))
    assert await rig.value("SELECT count(*)::int FROM inbox") == 2
    assert await rig.value("SELECT count(*)::int FROM entry") == 0


def _planted(rig: Rig, wrong: Wrong, **environment: str) -> Process:
    port = free_port()
    like = worker_process(rig.site, "ledger", "ledger", rig.folder, port=port)
    path = rig.process().environment["PYTHONPATH"]
    argv = [sys.executable, "-m", "testkit.wrong", wrong, "ledger"]
    return Process(
        f"{wrong}:{port}", argv, {**like.environment, "PYTHONPATH": path, **environment}, port, rig.folder / f"{wrong}-{port}.log"
    )
