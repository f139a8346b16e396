"""Many refusals within a minute are an event of their own, once a minute (domain.md 2.15)."""

from typing import Any

import pytest
from msgspec import json as msgjson

from ingress.batches import PublishUnknownError
from ingress.health import ANOMALIES, HealthState
from ingress.record import Record
from ingress.spike import COUNT, WINDOW_S, Spike, SpikeDetector, UnplacedSpikeError
from laws.catalogue import QUARANTINE_SPIKE
from laws.contracts.audit import QuarantineSpike
from laws.envelope import decode_envelope
from laws.headers import missing_headers
from laws.topics import AUDIT
from tests.ingress.rig import RUN, Site, push, traffic


def test_a_spike_is_so_many_within_a_window_and_told_once_in_it() -> None:
    now = 0.0
    detector = SpikeDetector(lambda: now)
    assert [detector.refused() for _ in range(COUNT - 1)] == [None] * (COUNT - 1)
    now = WINDOW_S - 1
    assert detector.refused() == Spike(COUNT, 1)
    assert [detector.refused() for _ in range(100)] == [None] * 100
    now = 2 * WINDOW_S
    assert [detector.refused() for _ in range(COUNT - 1)] == [None] * (COUNT - 1)
    assert detector.refused() == Spike(COUNT, 2)
    now = 10 * WINDOW_S
    assert detector.refused() is None


async def spikes(site: Site) -> list[Any]:
    records = await site.records(AUDIT.name)
    return [record for record in records if decode_envelope(record.value).event_type == QUARANTINE_SPIKE.name]


async def test_a_spike_is_on_the_audit_topic_once_it_is_known_whose_it_is(site: Site) -> None:
    async with site.edge() as edge:
        await push(edge, [7] * COUNT)  # nobody can read whose run these are
        assert await spikes(site) == []
        await push(edge, traffic(amount_minor=-1))
        [record] = await spikes(site)
        await push(edge, [traffic(amount_minor=-1) for _ in range(2 * COUNT)])
        assert len(await spikes(site)) == 1
    envelope = decode_envelope(record.value)
    assert missing_headers(dict(record.headers)) == ()
    assert (envelope.platform_run_id, envelope.producer, envelope.schema_version) == (RUN, "ig", "v1")
    assert msgjson.decode(envelope.payload, type=QuarantineSpike) == QuarantineSpike("ig.schema_policy", COUNT, WINDOW_S)


async def test_a_spike_of_a_foreign_run_carries_the_pins_of_the_active_one(site: Site) -> None:
    """Its event is read by services that know the active run alone: one with the pins of another would be parked by each of them."""
    active = "platform_20260106T000000Z"
    foreign = [traffic() | {"scenario_run_id": "6" * 32, "run_id": "6" * 32, "manifest_fingerprint": "7" * 64} for _ in range(COUNT)]
    async with site.edge(active_run=active, probe_s=3600) as edge:
        answer = await push(edge, foreign)
        assert {tuple(item["reason_codes"]) for item in answer.body["items"]} == {("RUN_UNKNOWN",)}
        before = len(await spikes(site))
        with pytest.raises(UnplacedSpikeError, match=f"{COUNT} refusals"):
            await edge._refusals.sweep()  # the run has no row yet: nobody knows its pins
        assert edge.health.state is HealthState.GREEN
        await edge.health.probe(edge._probes())
        assert [cause["dependency"] for cause in edge.health.causes] == [ANOMALIES]
        assert len(await spikes(site)) == before
        assert (await push(edge, traffic() | {"platform_run_id": active})).decision == "ADMIT"
        await edge.health.probe(edge._probes())
        assert edge.health.state is HealthState.GREEN
        await edge._refusals.sweep()
    records = await spikes(site)
    assert len(records) == before + 1
    [envelope] = [found for found in (decode_envelope(record.value) for record in records) if found.platform_run_id == active]
    admitted = traffic()
    assert (envelope.scenario_run_id, envelope.manifest_fingerprint) == (admitted["scenario_run_id"], admitted["manifest_fingerprint"])
    assert msgjson.decode(envelope.payload, type=QuarantineSpike).quarantine_count == COUNT


async def test_a_spike_that_the_bus_did_not_take_is_raised_by_the_watch(site: Site) -> None:
    before = len(await spikes(site))
    async with site.edge(probe_s=0.2) as edge:
        publish = edge.bus.publish

        async def away(record: Record) -> Any:
            raise PublishUnknownError("away")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edge.bus, "publish", away)
            answer = await push(edge, [traffic(amount_minor=-1) for _ in range(COUNT)])
            assert {item["decision"] for item in answer.body["items"]} == {"QUARANTINE"}
            edge._refusals.spikes = SpikeDetector()  # a minute later, and the bus is still away
            edge._refusals._edge = "later"
            await push(edge, [traffic(amount_minor=-1) for _ in range(COUNT)])
        assert edge.bus.publish == publish
        await edge._refusals.sweep()
    assert len(await spikes(site)) == before + 2
