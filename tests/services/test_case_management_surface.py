"""Cases as people see them, and the boundary for assertions, on a real store (domain.md 8.4, 8.5)."""

import hashlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from case_management.app import build
from laws.catalogue import CASE_TRIGGER
from laws.topics import CASE_TRIGGERS
from testkit.engines import EngineSet
from tests.services import facts
from tests.services.bench import trace_id
from tests.services.surface import Surface, surface_of

PATH = f"/v1/cases/{facts.case_id()}/assertions"


@pytest.fixture
async def surface(engines: EngineSet) -> AsyncIterator[Surface]:
    async with surface_of(engines, build) as found:
        yield found


async def opened(surface: Surface) -> None:
    payload = facts.trigger()
    await surface.feed((CASE_TRIGGER, payload["case_trigger_id"], payload))


async def test_an_assertion_is_taken_once_and_answered_the_same_again(surface: Surface) -> None:
    await opened(surface)
    first = await surface.post(PATH, facts.assertion(), facts.ANALYST)
    assert first.status == 202
    again = await surface.post(PATH, facts.assertion(), facts.ANALYST)
    assert (again.status, again.body) == (200, first.body)
    changed = await surface.post(PATH, facts.assertion(label_value="LEGIT_CONFIRMED"), facts.ANALYST)
    assert (changed.status, changed.body["reason"]) == (409, "PAYLOAD_HASH_MISMATCH")
    case = (await surface.get(f"/v1/cases/{facts.case_id()}")).body
    assert [entry["timeline_event_type"] for entry in case["timeline"]] == ["CASE_TRIGGERED", "INVESTIGATOR_ASSERTION", "LABEL_PENDING"]
    assert (case["status"], case["trigger_types"], case["subject_event_id"]) == ("LABEL_PENDING", "DECISION_ESCALATION", facts.SOURCE)
    assert case["traceparent"][3:35] == trace_id(facts.trigger()["case_trigger_id"])
    pending = await surface.runtime.pool.fetchrow("SELECT kind, ref, task_state FROM pending")
    assert pending is not None
    assert tuple(pending) == ("label.submit", first.body["label_assertion_id"], "RESERVED")


async def test_an_assertion_about_an_unknown_case_may_be_sent_again(surface: Surface) -> None:
    early = await surface.post(PATH, facts.assertion(), facts.ANALYST)
    assert (early.status, early.body["reason"]) == (404, "CASE_UNKNOWN")
    await opened(surface)
    assert (await surface.post(PATH, facts.assertion(), facts.ANALYST)).status == 202


async def test_what_is_refused_leaves_no_trace(surface: Surface) -> None:
    await opened(surface)
    refusals = [
        (facts.assertion(), None, 401, "UNAUTHORIZED"),
        (facts.assertion(), "nobody", 403, "UNAUTHORIZED"),
        (facts.assertion(), "HUMAN::analyst-09", 403, "UNAUTHORIZED"),
        (facts.assertion(source_type="AUTO"), facts.ANALYST, 403, "UNAUTHORIZED"),
        (facts.assertion(label_value=["FRAUD_CONFIRMED"]), facts.ANALYST, 400, "CONTRACT_INVALID"),
        (facts.assertion(evidence_refs=[]), facts.ANALYST, 400, "CONTRACT_INVALID"),
        (facts.assertion(source="6" * 64), facts.ANALYST, 400, "CONTRACT_INVALID"),
        ("nothing", facts.ANALYST, 400, "CONTRACT_INVALID"),
    ]
    for body, principal, status, reason in refusals:
        refused = await surface.post(PATH, body, principal)
        assert (refused.status, refused.body["reason"]) == (status, reason), body
    assert await surface.runtime.pool.fetchval("SELECT count(*) FROM timeline") == 1
    assert (await surface.post(PATH, facts.assertion(), facts.ANALYST)).status == 202


async def test_pages_pass_over_no_case_however_many_one_transaction_triggered(surface: Surface) -> None:
    triggers = [facts.trigger(source=hashlib.sha256(str(number).encode()).hexdigest()) for number in range(60)]
    by_lane: dict[int, list[dict[str, object]]] = {}
    for payload in triggers:
        key = CASE_TRIGGERS.key.key_of("", payload)
        assert key is not None
        by_lane.setdefault(CASE_TRIGGERS.partition(key), []).append(payload)
    for payloads in by_lane.values():
        # The first alone, then all the others of the lane together: more in one transaction than fit on a page.
        for batch in (payloads[:1], payloads[1:]):
            await surface.feed(*((CASE_TRIGGER, str(payload["case_trigger_id"]), payload) for payload in batch))
    for lane, payloads in by_lane.items():
        seen: list[str] = []
        after, pages = 0, 0
        while True:
            page = (await surface.get(f"/v1/triggered?lane={lane}&after={after}&limit=3")).body
            if not page["case_ids"]:
                assert page["next_after"] == after
                break
            seen += page["case_ids"]
            after, pages = page["next_after"], pages + 1
        assert sorted(seen) == sorted(str(payload["case_id"]) for payload in payloads)
        assert pages <= 2


async def test_an_assertion_behind_a_parked_trigger_is_never_answered_as_done(surface: Surface) -> None:
    await opened(surface)
    broken = {name: value for name, value in facts.trigger(ref="decision:2").items() if name != "observed_time"}
    await surface.feed((CASE_TRIGGER, "broken", broken))
    for _ in range(2):
        kept = await surface.post(PATH, facts.assertion(), facts.ANALYST)
        assert (kept.status, kept.body["reason"]) == (422, "BEHIND_PARKED_KEY")
    assert await surface.runtime.pool.fetchval("SELECT count(*) FROM timeline") == 1
    assert await surface.runtime.pool.fetchval("SELECT count(*) FROM parked") == 2


async def test_the_timeline_cannot_be_rewritten_by_the_service_itself(surface: Surface) -> None:
    for statement in ("UPDATE timeline SET observed_time = ''", "DELETE FROM timeline", "DELETE FROM cases"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await surface.runtime.pool.execute(statement)
