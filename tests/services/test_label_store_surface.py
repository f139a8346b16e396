"""The writer boundary of labels and as-of questions, on a real store (domain.md 8.6, 8.7)."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from label_store.app import build
from testkit.engines import EngineSet
from tests.services import facts
from tests.services.fake_state import RUN
from tests.services.surface import Surface, surface_of
from tests.services.test_label_store_policy import WRITER, assertion


@pytest.fixture
async def surface(engines: EngineSet) -> AsyncIterator[Surface]:
    async with surface_of(engines, build) as found:
        yield found


async def test_a_label_is_acknowledged_after_commit_and_the_same_again(surface: Surface) -> None:
    payload = assertion()
    path = f"/v1/labels/{payload['label_assertion_id']}"
    assert (await surface.get(path)).status == 404
    first = await surface.post("/v1/labels", payload, WRITER)
    assert (first.status, first.body["reason"]) == (201, "ASSERTION_COMMITTED_NEW")
    assert first.body["assertion_ref"] == f"ls:{payload['label_assertion_id']}"
    again = await surface.post("/v1/labels", payload, WRITER)
    assert (again.status, again.body) == (200, {**first.body, "reason": "ASSERTION_REPLAY_MATCH"})
    assert await surface.get(path) == again
    # The same timeline event, subject and type make the same id: another meaning under it is a mismatch.
    changed = await surface.post("/v1/labels", assertion(observed_time="2026-01-10T00:00:00.000000Z"), WRITER)
    assert (changed.status, changed.body["reason"]) == (409, "PAYLOAD_HASH_MISMATCH")
    pool = surface.runtime.pool
    assert await pool.fetchval("SELECT count(*) FROM label") == 1
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'fp.bus.labels.events.v1'") == 1
    assert await pool.fetchval("SELECT reason FROM anomaly") == "PAYLOAD_HASH_MISMATCH"


@pytest.mark.parametrize("principal", ["HUMAN::analyst-03", "EXTERNAL::card_scheme", "SYSTEM::case_trigger"])
async def test_only_case_management_writes(surface: Surface, principal: str) -> None:
    assert (await surface.post("/v1/labels", assertion(), principal)).status == 403
    assert (await surface.post("/v1/labels", assertion(), None)).status == 401


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({**assertion(), "evidence_refs": []}, "MISSING_EVIDENCE_REFS"),
        ({name: value for name, value in assertion().items() if name != "evidence_refs"}, "MISSING_EVIDENCE_REFS"),
        (assertion(actor_id=None), "ACTOR_MISSING"),
        ({**assertion(), "payload_hash": "0" * 64}, "CONTRACT_INVALID"),
        ({**assertion(), "label_type": "mood"}, "CONTRACT_INVALID"),
        ([], "CONTRACT_INVALID"),
    ],
)
async def test_what_is_not_lawful_is_refused_and_consumes_no_identity(surface: Surface, body: Any, reason: str) -> None:
    refused = await surface.post("/v1/labels", body, WRITER)
    assert (refused.status, refused.body["reason"]) == (400, reason)
    assert (await surface.post("/v1/labels", assertion(), WRITER)).status == 201


async def test_what_was_known_at_a_time_is_answered_for_that_time(surface: Surface) -> None:
    early = assertion()
    late = assertion(case_timeline_event_id="7" * 32, label_value="LEGIT_CONFIRMED", observed_time="2026-01-20T00:00:00.000000Z")
    for payload in (early, late):
        assert (await surface.post("/v1/labels", payload, WRITER)).status == 201
    question = f"/v1/labels/resolve?platform_run_id={RUN}&event_id={facts.SOURCE}&label_type=fraud_disposition&as_of="
    answers = {
        "2026-01-08T00:00:00.000000Z": ("NOT_FOUND", None, []),
        "2026-01-15T00:00:00.000000Z": ("RESOLVED", "FRAUD_CONFIRMED", [early["label_assertion_id"]]),
        "2026-01-25T00:00:00.000000Z": ("RESOLVED", "LEGIT_CONFIRMED", [late["label_assertion_id"]]),
    }
    for as_of, (outcome, value, found) in answers.items():
        answer = (await surface.get(question + as_of)).body
        assert (answer["outcome"], answer["label_value"], answer["label_assertion_ids"]) == (outcome, value, found)
        assert (answer["as_of"], answer["resolution_rule"]) == (as_of, "ls.resolution.doc.v1")
    for wrong in ("2026-01-15", "2026-01-15T00:00:00Z", "2026-02-30T00:00:00.000000Z"):
        refused = await surface.get(question + wrong)
        assert (refused.status, refused.body["reason"]) == (400, "CONTRACT_INVALID")
        assert wrong in refused.body["detail"]


async def test_labels_cannot_be_rewritten_by_the_service_itself(surface: Surface) -> None:
    for statement in ("UPDATE label SET label_value = ''", "DELETE FROM label"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await surface.runtime.pool.execute(statement)
