"""Kills, freezes and races of the edge by seed, and the laws that have to hold: `python -m tests.ingress.campaign --kills 500`.

A producer of this campaign sends each event until it has a final answer, as producers do. A third of the events come with a second
payload under the same identity.
"""

import argparse
import asyncio
import json
import secrets
import signal
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

from msgspec.structs import replace

from ingress.bus import BusError
from ingress.dynamodb import StoreError
from ingress.edge import Edge
from ingress.inspection import Candidate, inspect
from ingress.logs import log
from ingress.record import Caller
from ingress.row import UNSETTLED, AdmissionRow, State, from_item, to_item
from ingress.steps import Step
from ingress.tables import ensure_tables
from laws.catalogue import CORRIDOR_ANOMALY
from laws.envelope import decode_envelope
from laws.payload_hash import payload_hash
from laws.topics import AUDIT, TOPICS
from spine.provision import apply
from testkit.engines import Deadline, borrowed
from tests.ingress.rig import RUN, Site, changed, dummy_credentials, fresh_row, push, traffic
from tests.ingress.victims import SWEEP, Order, Victim, start

# A lease so short that a campaign need not wait for hundreds of long ones; the law is the same.
LIMITS = {"FP_IG_PUBLISH_TIMEOUT_S": "1", "FP_IG_LEASE_S": "2", "FP_IG_PROBE_S": "3600"}
# What a victim has to be doing to come by a step.
_LOST = (Step.AMBIGUOUS, Step.LETTER_SENT)
_REFUSED = (Step.REFUSAL_KEPT, Step.ANOMALY_SENT, Step.ANOMALY_NOTED)
_LEFT = (Step.TAKEN_OVER, Step.SEARCHED, Step.RESOLVED, Step.RELEASED)
# A handler comes by it only if it thaws after somebody else has settled its row.
_THAWED = (Step.SECOND_COPY,)
STEPS = tuple(step for step in Step if step not in _THAWED)
FROZEN = (Step.JUDGED, Step.ROW_PUT, Step.SENT, Step.ACKED)
_BOUND_S = 60.0
_TRIES = 4
_CALLER = Caller(None, None, "SYSTEM::campaign")


def digest_of(event: dict[str, Any]) -> bytes:
    candidate = inspect(json.dumps(event).encode(), RUN)
    assert isinstance(candidate, Candidate)
    return candidate.payload_hash


@dataclass
class Campaign:
    """What was sent, what was answered, and what is left to be."""

    site: Site
    edge: Edge
    environment: dict[str, str]
    rng: Random
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The first payload by event id."""
    rivals: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The changed payload by event id, where there is one."""
    admitted: dict[str, bytes] = field(default_factory=dict)
    """The payload hash that was answered ADMIT or DUPLICATE."""
    mismatched: set[tuple[str, bytes]] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    async def kill(self, step: Step) -> None:
        """One victim, hit at a step; then its producer goes on with the edge that is left."""
        for _ in range(_TRIES):
            if await self._hit(step, signal.SIGKILL):
                return

    async def freeze(self, step: Step) -> None:
        """One victim, frozen at a step while its row is settled by others; then thawed."""
        await self._hit(step, signal.SIGSTOP)

    async def race(self, keys: int) -> None:
        """`keys` identities, each with two payloads on three edges at the same moment."""
        firsts = [self._event(rival=True) for _ in range(keys)]
        seconds = [self.rivals[event["event_id"]] for event in firsts]
        async with self.site.edge(**self._limits()) as one, self.site.edge(**self._limits()) as two:
            await asyncio.gather(self._push(self.edge, firsts), self._push(one, seconds), self._push(two, firsts + seconds))
        self.counts["races"] += keys
        await self._until_final([*firsts, *seconds])

    async def settle(self) -> None:
        """Everything that was sent has its final answer, and nothing is left behind."""
        every = [*self.events.values(), *self.rivals.values()]
        await self._until_final(every)
        ends = time.monotonic() + _BOUND_S
        while await self._unsettled():
            assert time.monotonic() < ends, "rows are stuck"
            await self._sweep()

    async def _sweep(self) -> None:
        """A sweep as its schedule makes it: one that a busy machine kept from its end is made again."""
        deadline = Deadline(_BOUND_S)
        while True:
            try:
                await self.edge.reconciler.sweep()
            except (BusError, StoreError) as error:
                self.counts["sweeps again"] += 1
                deadline.check(f"a sweep to come to its end: {error}")
                await asyncio.sleep(0.2)
            else:
                return

    async def _hit(self, step: Step, number: signal.Signals) -> bool:
        """Whether the victim came to its step: what it was to find may have been settled by a sweep of somebody else's."""
        events = [self._event(rival=self.rng.random() < 0.34) for _ in range(self.rng.randint(1, 4))]
        order = Order(self.environment, step, signal=number)
        if step in _LOST:
            order.unanswered = self.rng.choice(("lost", "sent"))
        elif step in _REFUSED:
            events[0] = self._event(rival=True)
            await self._push(self.edge, events)
        elif step in _LEFT:
            await self._leave(events, sent=step is not Step.RELEASED and step is not Step.TAKEN_OVER)
            order.work = SWEEP if step is not Step.TAKEN_OVER else order.work
        if order.work != SWEEP:
            bodies = events + [self.rivals[event["event_id"]] for event in events if event["event_id"] in self.rivals]
            order.bodies = [json.dumps(body).encode() for body in bodies]
            if self.rng.random() < 0.5:
                order.bodies = [json.dumps(bodies).encode()]  # a step comes once in a block
            elif step not in (*_LEFT, *_LOST, *_REFUSED):
                order.nth = self.rng.randint(1, min(2, len(events)))
        victim = start(order)
        if number == signal.SIGSTOP:
            await self._thaw(victim, events)
        code = await victim.ended()
        self.counts["killed" if code == -signal.SIGKILL else "survived"] += 1
        self.counts[f"at {step}"] += code == -signal.SIGKILL or number == signal.SIGSTOP
        return code == -signal.SIGKILL

    async def _thaw(self, victim: Victim, events: list[dict[str, Any]]) -> None:
        if await victim.stopped():
            self.counts["frozen"] += 1
            for event in events:
                item = await self.site.item(event)
                if item is not None and (row := from_item(item)).state in UNSETTLED:
                    await self.site.put_row(to_item(replace(row, lease_until_ms=0)))
            try:
                if self.rng.random() < 0.7:
                    await self._sweep()
                if self.rng.random() < 0.7:
                    await self._push(self.edge, events)
            finally:
                victim.thaw()  # one that is left frozen would keep the campaign from its end

    async def _leave(self, events: list[dict[str, Any]], *, sent: bool) -> None:
        """Rows of a handler that died a lease ago."""
        for event in events:
            candidate = inspect(json.dumps(event).encode(), RUN)
            assert isinstance(candidate, Candidate)
            row = fresh_row(self.edge, candidate, time.time() - 60, secrets.token_bytes(8))
            await self.site.put_row(to_item(replace(row, state=self.rng.choice(UNSETTLED))))
            if sent:
                record, _ = self.edge._stamp.record(candidate, _CALLER)
                await self.edge.bus.publish(record)

    def _event(self, *, rival: bool) -> dict[str, Any]:
        event = traffic(f"{self.rng.getrandbits(256):064x}", flow_id=f"flow-{self.rng.randint(0, 50)}")
        self.events[event["event_id"]] = event
        if rival:
            self.rivals[event["event_id"]] = changed(event)
        return event

    def _limits(self) -> dict[str, str]:
        return {name.removeprefix("FP_IG_").lower(): value for name, value in LIMITS.items()}

    async def _push(self, edge: Edge, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The events without a final answer."""
        answered = await push(edge, events)
        assert answered.status == 200, answered.body
        again = []
        for event, item in zip(events, answered.body["items"], strict=True):
            name, digest = event["event_id"], digest_of(event)
            if item["decision"] in ("ADMIT", "DUPLICATE"):
                assert self.admitted.setdefault(name, digest) == digest, f"two payloads of {name} were admitted"
                assert item["receipt"]["payload_hash"]["hex"] == digest.hex()
            elif item["decision"] == "QUARANTINE":
                assert item["reason_codes"] == ["PAYLOAD_HASH_MISMATCH"], item
                self.mismatched.add((name, digest))
            else:
                again.append(event)
        return again

    async def _until_final(self, events: list[dict[str, Any]]) -> None:
        ends = time.monotonic() + _BOUND_S
        while events:
            left: list[dict[str, Any]] = []
            for start_at in range(0, len(events), 200):
                left += await self._push(self.edge, events[start_at : start_at + 200])
            assert time.monotonic() < ends, f"{len(left)} events have no final answer"
            if left:
                self.counts["retries"] += len(left)
                await asyncio.sleep(0.2)
            events = left

    async def _rows(self) -> dict[str, AdmissionRow]:
        rows: dict[str, AdmissionRow] = {}
        request: dict[str, Any] = {"TableName": f"{self.site.name}-idempotency", "ConsistentRead": True}
        while True:
            page = await self.site.store.call("Scan", request)
            rows |= {row.event_id: row for row in map(from_item, page["Items"])}
            self.counts["rows"] = len(rows)
            if "LastEvaluatedKey" not in page:
                return rows
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def _unsettled(self) -> list[AdmissionRow]:
        return [row for row in (await self._rows()).values() if row.state is not State.ADMITTED]

    async def audit(self) -> None:
        """The laws, from the table, the quarantine and the topics alone."""
        rows = await self._rows()
        assert set(rows) == set(self.events), "each identity has one row, and there is no other"
        copies: defaultdict[str, list[Any]] = defaultdict(list)
        for record in await self.site.records():
            copies[dict(record.headers)["x-fp-event-id"].decode()].append(record)
        for name, row in rows.items():
            assert row.state is State.ADMITTED
            assert row.payload_hash == self.admitted[name]
            hashes = {_hash_of(record.value) for record in copies[name]}
            assert hashes == {row.payload_hash}, f"{name}: another payload is on the bus"
            places = sorted(record.offset for record in copies[name])
            assert row.offset in places
            assert row.offset == places[0] or places[0] in row.second_copies, (row, places)
            self.counts["second copies"] += len(places) - 1
        expected = {(name, digest_of(body)) for name in self.rivals for body in (self.events[name], self.rivals[name])}
        expected -= {(name, digest) for name, digest in self.admitted.items()}
        assert self.mismatched == expected, "each changed payload was told so"
        kept = Counter((item["event_id"]["S"], bytes.fromhex(item["payload_hash"]["S"])) for item in await self._quarantined())
        assert kept == Counter(expected), "each mismatch stands once, under its own row"
        own = [decode_envelope(record.value) for record in await self.site.records(AUDIT.name)]
        anomalies = Counter(envelope.parent_event_id for envelope in own if envelope.event_type == CORRIDOR_ANOMALY.name)
        assert set(anomalies) == {name for name, _ in expected}
        self.counts["mismatches"] = len(expected)

    async def _quarantined(self) -> list[Any]:
        items, request = [], {"TableName": f"{self.site.name}-quarantine", "ConsistentRead": True}
        while True:
            page = await self.site.store.call("Scan", request)
            items += page["Items"]
            if "LastEvaluatedKey" not in page:
                return items
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _hash_of(value: bytes) -> bytes:
    envelope = decode_envelope(value)
    return payload_hash(envelope.event_type, bytes(envelope.payload), envelope.schema_version)


async def run(site: Site, seed: int, kills: int, freezes: int, races: int, dlq_url: str = "", region: str = "local") -> Counter[str]:
    """The counts of a campaign that held. Raises AssertionError where a law did not."""
    limits = LIMITS | ({"FP_IG_DLQ_URL": dlq_url, "FP_IG_REGION": region} if dlq_url else {})
    fields = {name.removeprefix("FP_IG_").lower(): value for name, value in limits.items()}
    async with site.edge(**fields) as edge:
        campaign = Campaign(site, edge, site.environment(**limits), Random(seed))
        steps = [step for step in STEPS if dlq_url or step is not Step.LETTER_SENT]
        work = [campaign.kill(steps[number % len(steps)]) for number in range(kills)]
        work += [campaign.freeze(FROZEN[number % len(FROZEN)]) for number in range(freezes)]
        campaign.rng.shuffle(work)
        slots = asyncio.Semaphore(4)

        async def one(hit: Any) -> None:
            async with slots:
                await hit

        await asyncio.gather(*(one(hit) for hit in work))
        while campaign.counts["races"] < races:
            await campaign.race(min(100, races - campaign.counts["races"]))
        await campaign.settle()
        await campaign.audit()
        return campaign.counts


async def _main(arguments: argparse.Namespace) -> None:
    dummy_credentials()
    log.muted = True
    from tests.ingress.cloud import REGION, running_cloud  # noqa: PLC0415  moto takes a second

    with borrowed() as engines, running_cloud() as cloud:
        site = Site(engines.endpoints)
        settings = site.settings()
        await ensure_tables(settings.dynamodb_url, settings.region, settings.idempotency_table, settings.quarantine_table)
        await apply({"bootstrap_servers": site.endpoints.kafka_bootstrap}, TOPICS, site.prefix)
        await site.store.start()
        try:
            counts = await run(site, arguments.seed, arguments.kills, arguments.freezes, arguments.races, cloud.queue(), REGION)
        finally:
            await site.store.stop()
    for name, count in sorted(counts.items()):
        sys.stdout.write(f"{name:24} {count}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.ingress.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--freezes", type=int, default=60)
    parser.add_argument("--races", type=int, default=1000)
    asyncio.run(_main(parser.parse_args()))
