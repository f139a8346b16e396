"""Finding 1 (runtime.md, What broke): acknowledged without an effect. What faust-streaming loses at a kill, and the spine does not."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from forked import ForkedWorker
from ledger.service import POSTED
from rig import Rig, entry
from spine.deadline import Deadline
from testkit.engines import EngineSet
from testkit.harness import Process, until


class FaustWorkers:
    """Worker processes of one faust application, one after the other, on topics of their own."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.name = f"faust-{secrets.token_hex(5)}"
        self.one_by_one, self.two_at_once = f"{self.name}.one", f"{self.name}.two"
        self._bootstrap = bootstrap
        self._folder = folder
        self._log = folder / "faust.log"
        self._handled = folder / "handled.txt"

    def handled(self) -> list[str]:
        """What any of them handled, in order."""
        return self._handled.read_text().split() if self._handled.exists() else []

    def start(self, *, trouble: bool) -> Process:
        """One worker process; in `trouble`, its handlers raise and hang where a message is named so."""
        settings = {
            "group": self.name,
            "bootstrap": self._bootstrap,
            "folder": str(self._folder / "data"),
            "handled": str(self._handled),
            "one_by_one": self.one_by_one,
            "two_at_once": self.two_at_once,
            "trouble": trouble,
        }
        program = Path(__file__).parent / "faust_app.py"
        argv = [sys.executable, str(program), json.dumps(settings), "worker", "--loglevel=info"]
        process = Process(self.name, argv, {}, 0, self._log)
        process.start()
        return process

    async def committed(self, admin: AIOKafkaAdminClient) -> dict[str, int]:
        """From which offset the next worker will read, by topic."""
        found = await admin.list_consumer_group_offsets(self.name)
        return {place.topic: offset.offset for place, offset in found.items()}

    def log(self) -> str:
        return self._log.read_text()[-3000:]


@pytest.fixture(scope="module")
async def faust_killed(engines: EngineSet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FaustWorkers]:
    """A faust worker that met a message it could not handle and one that took long, was killed, and was followed by a healthy one."""
    bootstrap = engines.endpoints.kafka_bootstrap
    workers = FaustWorkers(bootstrap, tmp_path_factory.mktemp("faust"))
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1) for topic in (workers.one_by_one, workers.two_at_once)])
        for name in ("before-0", "raise-1", "after-2"):
            await producer.send_and_wait(workers.one_by_one, name.encode(), partition=0)
        for name in ("slow-0", "beside-1"):
            await producer.send_and_wait(workers.two_at_once, name.encode(), partition=0)
        async with killed_at_the_end(workers.start(trouble=True)):
            deadline = Deadline(60)
            while await workers.committed(admin) != {workers.one_by_one: 3, workers.two_at_once: 2}:
                deadline.check(f"faust to commit past what it has not done, it committed {await workers.committed(admin)}\n{workers.log()}")
                await asyncio.sleep(0.05)
        assert sorted(workers.handled()) == ["after-2", "before-0", "beside-1"]
        for topic in (workers.one_by_one, workers.two_at_once):
            await producer.send_and_wait(topic, f"next-of-{topic.rpartition('.')[2]}".encode(), partition=0)
        # The second has no trouble with any message: whatever it is given, it handles.
        async with killed_at_the_end(workers.start(trouble=False)):
            await until(
                lambda: {"next-of-one", "next-of-two"} <= set(workers.handled()), Deadline(60), "the next worker to handle what is left"
            )
        yield workers
    finally:
        await producer.stop()
        await admin.close()


@asynccontextmanager
async def killed_at_the_end(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        process.kill()


async def test_faust_acknowledges_a_message_whose_handler_raised(faust_killed: FaustWorkers) -> None:
    """Finding 1: an event whose handling failed, for whatever reason of the moment, is gone: nobody is told, nothing is kept aside."""
    assert "raise-1" not in faust_killed.handled()
    assert "after-2" in faust_killed.handled()


async def test_faust_commits_past_a_message_in_flight(faust_killed: FaustWorkers) -> None:
    """Finding 1: with concurrency 2 the event that was being handled when the worker was killed is never handled again: it is lost."""
    assert "slow-0" not in faust_killed.handled()
    assert "beside-1" in faust_killed.handled()


async def test_the_spine_loses_nothing_when_it_is_killed_with_a_message_in_flight(rig: Rig) -> None:
    """The same kill: the position moves in the transaction of the effect, so what was in flight is read again, and applied once."""
    names = ["slow-0", "beside-1", "next"]
    # Its transaction is open, its effects are decided, and they are written nowhere yet.
    doomed = ForkedWorker(rig, FP_FAULTS="KILL EFFECTS_DECIDED 1")
    doomed.start()
    await rig.send(*(entry(name) for name in names))
    assert await doomed.ended(Deadline(30)) == -signal.SIGKILL
    assert await rig.value("SELECT count(*)::int FROM entry") == 0
    heir = ForkedWorker(rig)
    heir.start()
    await rig.quiet(3)
    assert await heir.stopped(Deadline(20)) == 0
    assert [row["event_id"] for row in await rig.rows("SELECT event_id FROM entry ORDER BY lane_seq, event_id")] == sorted(names)
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 3
    assert len(await rig.read(POSTED)) == 3


async def test_the_spine_keeps_a_message_whose_handler_raised(rig: Rig) -> None:
    """The same message: parked in the transaction that moves the position, with its reason and bytes; later ones of its key behind it."""
    worker = ForkedWorker(rig)
    worker.start()
    await rig.send(entry("before-0"), entry("raise-1", note="poison"), entry("after-2"), entry("other", account="b"))
    await rig.quiet(4)
    assert await worker.stopped(Deadline(20)) == 0
    parked = await rig.rows("SELECT reason, detail, source FROM parked ORDER BY lane_seq, i")
    assert [row["reason"] for row in parked] == ["POLICY_ERROR", "BEHIND_PARKED_KEY"]
    assert "this entry is poison" in parked[0]["detail"] and b"raise-1" in parked[0]["source"]
    assert {row["event_id"] for row in await rig.rows("SELECT event_id FROM entry")} == {"before-0", "other"}
