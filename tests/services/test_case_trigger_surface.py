"""The boundary for signals, on a real store (domain.md 8.1, 8.3)."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from case_trigger.app import build
from testkit.engines import EngineSet
from tests.services import facts
from tests.services.surface import Surface, surface_of

OUTSIDE = "EXTERNAL::card_scheme"


@pytest.fixture
async def surface(engines: EngineSet) -> AsyncIterator[Surface]:
    async with surface_of(engines, build) as found:
        yield found


async def test_a_signal_is_taken_once_and_answered_the_same_again(surface: Surface) -> None:
    first = await surface.post("/v1/signals", facts.signal(), OUTSIDE)
    assert first.status == 201
    assert first.body["case_id"] == facts.case_id()
    again = await surface.post("/v1/signals", facts.signal(), OUTSIDE)
    assert (again.status, again.body) == (200, first.body)
    changed = await surface.post("/v1/signals", facts.signal(signal_kind="CHARGEBACK"), OUTSIDE)
    assert (changed.status, changed.body["reason"]) == (409, "PAYLOAD_HASH_MISMATCH")
    pool = surface.runtime.pool
    assert await pool.fetchval("SELECT count(*) FROM published_trigger") == 1
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'fp.bus.case.triggers.v1'") == 1
    assert await pool.fetchval("SELECT count(*) FROM anomaly") == 1


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ([], 400, "Expected `object`"),
        ({**facts.signal(), "surprise": 1}, 400, "surprise"),
        (facts.signal(trigger_type="ANOMALY"), 400, "trigger_type=ANOMALY"),
        (facts.signal(observed_time="today"), 400, "observed_time"),
    ],
)
async def test_what_is_not_lawful_is_refused_by_name(surface: Surface, body: Any, status: int, named: str) -> None:
    refused = await surface.post("/v1/signals", body, OUTSIDE)
    assert (refused.status, refused.body["reason"]) == (status, "CONTRACT_INVALID")
    assert named in refused.body["detail"]
    assert await surface.runtime.pool.fetchval("SELECT count(*) FROM inbox") == 0


async def test_callers_without_a_name_are_refused(surface: Surface) -> None:
    assert (await surface.post("/v1/signals", facts.signal(), None)).status == 401
    assert (await surface.post("/v1/signals", facts.signal(), "nobody")).status == 403


async def test_triggers_cannot_be_rewritten_by_the_service_itself(surface: Surface) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await surface.runtime.pool.execute("UPDATE published_trigger SET trigger_type = ''")
