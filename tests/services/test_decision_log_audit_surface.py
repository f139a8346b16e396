"""What auditors are told, from a real store (domain.md 7)."""

import hashlib
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from decision_log_audit.app import build
from laws import ids
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME, DECISION_RESPONSE
from testkit.engines import EngineSet
from tests.services import facts
from tests.services.fake_state import RUN
from tests.services.surface import Surface, surface_of


@pytest.fixture
async def surface(engines: EngineSet) -> AsyncIterator[Surface]:
    async with surface_of(engines, build) as found:
        yield found


async def test_a_record_is_answered_by_its_decision_and_what_is_missing_by_its_run(surface: Surface) -> None:
    decision_id = facts.decision_id()
    unresolved = f"/v1/audit?platform_run_id={RUN}&status=UNRESOLVED"
    await surface.feed((ACTION_OUTCOME, "o1", facts.outcome()), (DECISION_RESPONSE, "d1", facts.decision()))
    assert (await surface.get(f"/v1/audit/{decision_id}")).status == 404
    (waiting,) = (await surface.get(unresolved)).body
    assert (waiting["decision_id"], waiting["chain_status"]) == (decision_id, "UNRESOLVED")
    assert waiting["unresolved_reasons"] == ["MISSING_INTENT_LINK"]
    await surface.feed((ACTION_INTENT, "i1", facts.intent()))
    assert (await surface.get(unresolved)).body == []
    record = (await surface.get(f"/v1/audit/{decision_id}")).body
    assert record["audit_id"] == ids.audit_id(RUN, decision_id)
    assert record["action_intents"][0]["event_id"] == "i1"
    row = await surface.runtime.pool.fetchrow("SELECT record, record_digest FROM audit_record")
    assert row is not None
    assert json.loads(row["record"]) == record
    assert row["record_digest"] == hashlib.sha256(row["record"]).digest()


async def test_a_link_conflict_is_recorded_and_published_and_changes_nothing(surface: Surface) -> None:
    events = [(DECISION_RESPONSE, "d1", facts.decision()), (ACTION_INTENT, "i1", facts.intent()), (ACTION_OUTCOME, "o1", facts.outcome())]
    await surface.feed(*events)
    applied = await surface.feed((ACTION_INTENT, "i2", facts.intent(notes="another")))
    assert len(applied.outbox) == 1
    assert await surface.runtime.pool.fetchval("SELECT reason FROM anomaly") == "INTENT_LINK_CONFLICT"
    record = (await surface.get(f"/v1/audit/{facts.decision_id()}")).body
    assert [ref["event_id"] for ref in record["action_intents"]] == ["i1"]


async def test_records_cannot_be_rewritten_by_the_service_itself(surface: Surface) -> None:
    for statement in ("UPDATE audit_record SET source_event_id = ''", "DELETE FROM audit_record"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await surface.runtime.pool.execute(statement)


async def test_strangers_and_bad_ids_are_refused(surface: Surface) -> None:
    assert (await surface.get(f"/v1/audit/{facts.decision_id()}", principal=None)).status == 401
    assert (await surface.get(f"/v1/audit/{facts.decision_id()}", principal="EXTERNAL::card_scheme")).status == 403
    refused = await surface.get("/v1/audit/no-hex")
    assert (refused.status, refused.body["reason"]) == (400, "CONTRACT_INVALID")
    assert "no-hex" in refused.body["detail"]
