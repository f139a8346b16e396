"""A worker dies at each step, whatever it was doing; the next one finishes what it left, once (runtime.md, How it is proved)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from forked import ForkedWorker
from laws.envelope import decode_envelope
from ledger.service import POSTED
from payee import Payee, payee_at
from rig import INSTANT, PINS, Record, Rig, entry, key_given
from spine.deadline import Deadline
from spine.steps import Step

ACCOUNTS = [f"account-{number}" for number in range(12)]
ENTRIES_EACH = 4
COMMANDS = 6
PAYOUTS = 4


@dataclass(frozen=True)
class Death:
    """When a worker dies, and what makes it come there."""

    step: Step
    nth: int = 2
    """The first pass has left something behind that the second must not lose; 1 where a process passes once."""
    drained: bool = False
    """SIGTERM once everything is under way: the step is part of the way out."""
    lose_commit: int = 0
    """The n-th COMMIT is done and not answered."""
    environment: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.step.value


DEATHS = [
    *(Death(step) for step in (Step.FETCHED, Step.DECODED)),
    *(Death(step) for step in (Step.TX_BEGUN, Step.LANE_LOCKED, Step.DEDUPED, Step.STATE_READ, Step.EFFECTS_DECIDED)),
    *(Death(step) for step in (Step.EFFECTS_WRITTEN, Step.BEFORE_COMMIT, Step.COMMITTED)),
    Death(Step.COMMIT_SETTLED, nth=1, lose_commit=3),
    *(Death(step) for step in (Step.OUTBOX_READ, Step.SENT, Step.PUBLISHED)),
    # Batches carry the mark along: one of its own comes only once a lane is idle.
    Death(Step.MARKED, nth=1),
    *(Death(step, nth=1) for step in (Step.TASK_RESERVED, Step.TASK_RESCHEDULED, Step.ANSWER_SETTLED)),
    Death(Step.TASK_CALLED),
    *(Death(step) for step in (Step.COMMAND_RECEIVED, Step.COMMAND_COMMITTED)),
    # Reached only where a timer is due.
    Death(Step.TIMER_DUE, nth=1),
    *(Death(step, nth=1) for step in (Step.STARTED, Step.LEASE_TAKEN, Step.CLAIMED, Step.RECORDED)),
    *(Death(step) for step in (Step.POSITIONED, Step.RENEWED)),
    *(Death(step, drained=True) for step in (Step.DRAINING, Step.DRAINED, Step.RELEASED)),
    Death(Step.LEFT, nth=1, drained=True),
    Death(Step.STOPPED, nth=1, environment={"FP_BREAKER_CONSECUTIVE": "1"}),
]

# Steps without a death of their own here, each with the reason and the test that has it instead.
ELSEWHERE: dict[Step, str] = {}


def test_every_step_has_a_death() -> None:
    assert Counter(death.step for death in DEATHS) + Counter(ELSEWHERE.keys()) == Counter(Step)


@pytest.fixture
async def payee(rig: Rig) -> AsyncIterator[Payee]:
    async with payee_at(rig, "pay-0") as found:
        yield found


class Caller:
    """Sends commands to whichever worker runs, each again until it is answered."""

    def __init__(self) -> None:
        self.port = 0

    async def run(self) -> list[dict[str, Any]]:
        """Send every command until each is answered; the answers."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            return await asyncio.gather(*(self._insist(session, number) for number in range(COMMANDS)))

    async def _insist(self, session: aiohttp.ClientSession, number: int) -> dict[str, Any]:
        deadline = Deadline(40)
        while (answer := await self._ask(session, number)) is None:
            deadline.check(f"command {number} to be answered")
            await asyncio.sleep(0.02)
        return answer

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> dict[str, Any] | None:
        """Ask once; None when nobody answered, or only that it could not be done now."""
        body = {"account": ACCOUNTS[number % len(ACCOUNTS)], "amount": 100, "pins": PINS, "observed_time": INSTANT}
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with session.post(f"http://127.0.0.1:{self.port}/adjust/command-{number}", json=body) as answer:
                if answer.status == 200:
                    found: dict[str, Any] = await answer.json()
                    return found
                # A stopped lane refuses commands until the operator has cleared its reason: 503 as well.
                assert answer.status == 503, await answer.text()
        return None


def workload() -> list[Record]:
    """Something for every door: entries, payouts, a wait that is answered, a wait that is not, and an entry that is poison."""
    entries = [entry(f"entry-{number}-{account}", account=account) for number in range(ENTRIES_EACH) for account in ACCOUNTS]
    payouts = [entry(f"pay-{number}", account=f"paid-{number}", note="pay") for number in range(PAYOUTS)]
    waits = [entry("wait-kept", account="kept", note="wait"), key_given("key", "kept"), entry("wait-late", account="late", note="wait")]
    return [*payouts, *waits, *entries, entry("poison", account="poisoned", note="poison")]


async def end_leases(rig: Rig) -> None:
    """A dead worker's leases end now; that they end by themselves, and when, is test_ownership's."""
    await rig.rows("UPDATE lane_lease SET until = now() WHERE until > now() RETURNING 1")
    await rig.rows("UPDATE worker SET until = now() RETURNING 1")


@pytest.mark.parametrize("death", DEATHS, ids=str)
async def test_killed_at_any_step_nothing_is_lost_or_doubled(rig: Rig, payee: Payee, death: Death) -> None:
    records = workload()
    caller = Caller()
    calling = asyncio.create_task(caller.run())
    doomed = ForkedWorker(rig, lose_commit=death.lose_commit, FP_FAULTS=f"KILL {death.step} {death.nth}", **death.environment)
    caller.port = doomed.port
    doomed.start()
    await rig.send(*records)
    if death.drained:
        await rig.until("SELECT coalesce(sum(next_offset), 0) > 0 FROM lane_position", True)
        doomed.send(signal.SIGTERM)
    assert await doomed.ended(Deadline(30)) == -signal.SIGKILL, f"it ended before it came to {death.step}: {doomed.log.read_text()}"
    if death.step is Step.STOPPED:
        assert await rig.value("SELECT count(*)::int FROM lane WHERE stopped_reason LIKE 'BREAKER_OPEN%'") == 1
        await rig.rows("UPDATE lane SET stopped_reason = NULL RETURNING 1")
    await end_leases(rig)
    heir = ForkedWorker(rig)
    caller.port = heir.port
    heir.start()
    try:
        answers = await calling
        await rig.quiet(len(records))
        await rig.until("SELECT count(*)::int FROM pending", 0)
        # Each once more: it has no effect, and is answered to the byte as the first time.
        for first, again in zip(answers, await caller.run(), strict=True):
            assert again == first | {"verdict": "DUPLICATE", "status": 201}
    finally:
        code = await heir.stopped(Deadline(20))
    assert code == 0
    await nothing_lost_or_doubled(rig, payee)


async def nothing_lost_or_doubled(rig: Rig, payee: Payee) -> None:
    """Rows, balances, outputs, the outside and the certificates are what the workload says, each once."""
    how = {row["event_id"]: row["how"] for row in await rig.rows("SELECT event_id, how FROM entry")}
    entries = {f"entry-{number}-{account}": "entry" for number in range(ENTRIES_EACH) for account in ACCOUNTS}
    payouts = {f"pay-{number}": "entry" for number in range(PAYOUTS)}
    paid = {name: found for name, found in how.items() if name.startswith("paid:")}
    posted = {name: found for name, found in how.items() if name not in paid}
    # The key may stand in the log before the wait, or come after it; a wait that nobody answers ends late.
    assert posted.pop("wait-kept") in ("keyed", "entry")
    assert posted == entries | payouts | {"wait-late": "late"}
    assert {name: found.split()[0] for name, found in paid.items()} == {f"paid:pay-{number}": "DONE" for number in range(PAYOUTS)}
    assert payee.effects == Counter({f"pay-{number}": 1 for number in range(PAYOUTS)})

    balances = {row["account"]: (row["balance"], row["entries"]) for row in await rig.rows("SELECT * FROM account")}
    adjusted = Counter(ACCOUNTS[number % len(ACCOUNTS)] for number in range(COMMANDS))
    expected = {account: (ENTRIES_EACH + 100 * adjusted[account], ENTRIES_EACH) for account in ACCOUNTS}
    expected |= {f"paid-{number}": (1, 1) for number in range(PAYOUTS)} | {"kept": (1, 1), "late": (1, 1)}
    assert balances == expected
    assert [row["reason"] for row in await rig.rows("SELECT reason FROM parked")] == ["POLICY_ERROR"]
    # Every record and every command has its identity in the inbox once.
    assert await rig.value("SELECT count(*)::int FROM inbox") == len(workload()) + COMMANDS

    copies: dict[str, set[str]] = {}
    for found in await rig.read(POSTED):
        envelope = decode_envelope(found.value)
        assert envelope.parent_event_id is not None
        copies.setdefault(envelope.parent_event_id, set()).add(hashlib.sha256(found.value).hexdigest())
    assert set(copies) == {*posted, "wait-kept"}
    assert all(len(hashes) == 1 for hashes in copies.values()), "copies of one output differ"

    certificates = await rig.rows("SELECT lane, lane_seq, epoch, previous, hash FROM certificate ORDER BY lane, lane_seq")
    for before, after in pairwise(certificates):
        if before["lane"] == after["lane"]:
            assert (after["lane_seq"], after["previous"]) == (before["lane_seq"] + 1, before["hash"])
            assert after["epoch"] >= before["epoch"]


async def test_faults_that_no_step_has_are_refused_by_name(rig: Rig) -> None:
    process = ForkedWorker(rig, FP_FAULTS="KILL NOWHERE 1")
    process.start()
    assert await process.ended(Deadline(30)) != 0
    assert "FP_FAULTS='KILL NOWHERE 1'" in process.log.read_text()
