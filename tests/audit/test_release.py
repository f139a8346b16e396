"""A dry run says what a release would do, and leaves everything as it is."""

from typing import Any

import msgspec
import pytest

import ledger.service as ledger
from audit.auditor import audit
from audit.release import rehearse
from rig import Rig, entry
from spine.deadline import Deadline
from tests.audit.history import target


async def parked_key(rig: Rig) -> Any:
    (row,) = await rig.rows("SELECT DISTINCT lane, key FROM parked")
    return row


async def everything(rig: Rig) -> list[str]:
    tables = ("account", "entry", "inbox", "outbox", "parked", "lane", "certificate", "pending")
    return [str(await rig.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3")) for table in tables]


async def test_a_dry_run_shows_what_the_release_then_does(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = ledger.on_entry
    async with rig.worker() as (_, door):
        await rig.send(entry("a0", account="a", amount=5), entry("a1", account="a", note="poison"), entry("a2", account="a", amount=2))
        await rig.send(entry("a2", account="a", amount=2), entry("a3", account="a", note="poison, too"), entry("a4", account="a", amount=4))
        await rig.quiet(6)
    key = await parked_key(rig)
    before = await everything(rig)
    settings = rig.site.settings("ledger")

    as_it_is = await rehearse(target(rig), ledger.build(settings), settings, key["lane"], key["key"])
    assert (as_it_is.parked, as_it_is.released, as_it_is.outputs) == (4, 0, [])
    assert as_it_is.stays[0] == "a1: POLICY_ERROR: ValueError: this entry is poison"

    # The defect is mended but for one entry, and the key stays parked from there on.
    def mended(event: Any, state: Any) -> Any:
        if event.body.note == "poison, too":
            raise ValueError("not this one")
        body = ledger.Entry(event.body.account, event.body.amount)
        return handler(msgspec.structs.replace(event, body=body), state)

    monkeypatch.setattr(ledger, "on_entry", mended)
    rehearsal = await rehearse(target(rig), ledger.build(settings), settings, key["lane"], key["key"])
    assert (rehearsal.parked, rehearsal.released) == (4, 2)
    assert [line.split(":")[0] for line in rehearsal.stays] == ["a3", "a4"]
    assert len(rehearsal.outputs) == 2
    assert rehearsal.rows["entry"] == 2
    assert await everything(rig) == before

    async with rig.worker() as (_, door):
        await door.release("account", key["lane"], key["key"], Deadline(20))
        await rig.quiet(6)
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 5 + 1 + 2
    assert await rig.value("SELECT count(*)::int FROM parked WHERE released_seq IS NOT NULL") == rehearsal.released
    assert (await audit(target(rig))).ok
