"""Bodies that nobody would send, by seed: no 500, and each has an answer with a record behind it.

    python -m tests.ingress.fuzz --count 1000000 --seed 42

Every item is judged by the edge's own code. Its admission rows are in memory, and bus and quarantine are stand-ins that count, so
that a million cost minutes; the same bodies go through real engines in the tests, some hundred of them.
"""

import argparse
import asyncio
import base64
import gzip
import json
import sys
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from ingress.anomaly import Mismatch
from ingress.batches import Ack, PublishUnknownError
from ingress.bus import Bus, Place
from ingress.capacity import Capacity
from ingress.edge import Edge
from ingress.inspection import Refused
from ingress.logs import log
from ingress.quarantine import Kept, id_of
from ingress.record import Caller, Record
from ingress.settings import EdgeSettings
from ingress.spike import SpikeDetector
from spine.rungs import Rung
from tests.ingress.messy import messy_item
from tests.ingress.rig import KEY, KEY_HASH, RUN, traffic

# What a surface has to be able to say (domain.md 2.10); anything else is a defect.
STATUSES = frozenset({200, 202, 400, 401, 413, 429, 503})
# Lines rarely: a body with line breaks in it would be a dozen broken items.
_CONTENT_TYPES = ("application/json", "text/plain", "", "application/json; charset=utf-8") * 40 + ("application/x-ndjson",)
_ITEM_STATUSES = frozenset({202, 400, 429})


def fuzzed_body(rng: Random) -> tuple[bytes, bool]:
    """One body, and whether it is lines."""
    kind = rng.random()
    if kind < 0.8:
        return _plain_body(rng, kind), False
    if kind < 0.83:
        return b"\n".join(messy_item(rng) for _ in range(rng.randint(0, 6))), True
    return rng.choice(_HOSTILE)(rng), False


def _plain_body(rng: Random, kind: float) -> bytes:
    if kind < 0.55:
        return messy_item(rng)
    return b"[" + b",".join(messy_item(rng) for _ in range(rng.randint(0, 12))) + rng.choice((b"]", b"]", b"]", b",]", b""))


def _bytes(rng: Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 7, 100, 4000)))


def _deep(rng: Random) -> bytes:
    depth = rng.choice((10, 63, 64, 65, 200, 1000, 20_000))
    opener, closer = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")))
    return opener * depth + rng.choice((b"1", b"", b"null")) + closer * rng.choice((depth, depth - 1))


def _number(rng: Random) -> bytes:
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice((1, 20, 400, 5000))))
    literal = rng.choice(
        (digits, "-" + digits, f"0.{digits}", f"1e{digits[:6]}", f"1E-{digits[:6]}", f"{digits}.{digits}e{digits[:3]}", "+1", ".5")
    )
    return json.dumps(traffic()).replace("1999", literal, 1).encode()


def _unicode(rng: Random) -> bytes:
    text = "".join(
        chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x80, 0xD7FF), rng.randrange(0x10000, 0x10FFFF)))) for _ in range(20)
    )
    escape = rng.choice(("\\ud800", "\\udc00\\ud800", "\\ud83d\\ude00", "\\u0000", "\\uFFFF", "\\x", "\\u12"))
    payload: dict[str, Any] = {text: 1} if rng.random() < 0.3 else {}
    event = json.dumps(traffic("", flow_id="@", **payload), ensure_ascii=rng.random() < 0.5)
    return event.replace("@", text.replace('"', "").replace("\\", "") + rng.choice(("", escape)), 1).encode("utf-8", "surrogatepass")


def _size(rng: Random) -> bytes:
    event = traffic()
    event[rng.choice(("event_id", "producer", "tracestate", "scenario_id", "event_type", "payload", "x" * 500))] = "y" * rng.choice(
        (257, 5000, 70_000)
    )
    return json.dumps(event).encode()


def _types(rng: Random) -> bytes:
    event = traffic()
    value: Any = rng.choice((None, True, 0, -1, 1.5, 2**70, "", " ", [], {}, [[]], {"a": {"b": []}}))
    if rng.random() < 0.5:
        event[rng.choice(sorted(event))] = value
    else:
        event["payload"][rng.choice(sorted(event["payload"]))] = value
    return json.dumps(event).encode()


def _compressed(rng: Random) -> bytes:
    raw = messy_item(rng)
    return rng.choice((gzip.compress(raw, 1), zlib.compress(raw, 1), zlib.compress(raw, 1)[:-3]))


_HOSTILE = (_bytes, _deep, _number, _unicode, _size, _types, _compressed)


class _CountedBus(Bus):
    """A bus that appends at once and remembers how many."""

    appended = 0

    async def ensure(self) -> None: ...

    async def refresh(self) -> None: ...

    def place(self, topic: str, partition: int) -> Place:
        return Place("c", _TOPIC_ID, self.appended)

    async def publish(self, record: Record) -> Ack:
        self.appended += 1
        return Ack(self.appended, 0)

    async def publish_all(self, records: Sequence[Record]) -> list[Ack | PublishUnknownError]:
        return [await self.publish(record) for record in records]

    async def stop(self) -> None: ...


_TOPIC_ID = uuid.UUID(int=1)


class _NoSpikes(SpikeDetector):
    """Here refusals are the rule, and an event about them would be one that no item asked for."""

    def refused(self) -> None:
        """Never one."""


class Fuzz:
    """An edge and what was kept of everything that it refused."""

    def __init__(self) -> None:
        settings = EdgeSettings.of(
            {
                "env": Rung.LOCAL_PARITY,
                "release_id": "fuzz",
                "active_run": RUN,
                "api_key_hashes": KEY_HASH,
                "kafka_bootstrap": "127.0.0.1:1",
                "kafka_security": "PLAINTEXT",
                "region": "local",
                "table": "memory",
                "rate_profile": "measured",
                "idempotency_ttl_s": 5,
            }
        )
        self.bus = _CountedBus(settings)
        self.edge = Edge(settings, bus=self.bus)
        self.edge._items._capacity = Capacity(share=1e9)
        self.edge._refusals.spikes = _NoSpikes()
        quarantine: Any = self.edge._refusals._quarantine
        quarantine.keep, quarantine.mark_published = self._keep, self._noted
        self.kept: set[str] = set()
        self.counts: Counter[str] = Counter()

    async def _keep(self, refused: Refused, at: str, caller: Caller, mismatch: Mismatch | None = None) -> Kept:
        # Everything that a record is made of is made: what can't be written down would be found here.
        self.edge._refusals._quarantine._item("q", refused, at, caller)
        name = mismatch.quarantine_id if mismatch else id_of(refused)
        self.kept.add(name)
        return Kept(name, mismatch)

    async def _noted(self, _: str) -> None:
        """The anomaly's record says so."""

    async def one(self, rng: Random) -> None:
        """One request. Raises AssertionError for an answer that is none of the surface, or has nothing behind it."""
        body, lines = fuzzed_body(rng)
        headers = {"x-ig-api-key": KEY, "content-type": "application/x-ndjson" if lines else rng.choice(_CONTENT_TYPES)}
        if rng.random() < 0.1:
            headers["traceparent"] = rng.choice(
                ("", "00-zz", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "ü", "00-" + "a" * 32 + "-" + "1" * 16 + "-ff")
            )
            headers["tracestate"] = rng.choice(("", "a=1", "=", "a=" + "x" * 600, "ü=1"))
        event = {"rawPath": "/v1/ingest/push", "headers": headers, "requestContext": {"http": {"method": "POST"}}, **carried(body)}
        before = self.bus.appended
        response = await self.edge.handle(event)
        answer = json.loads(response["body"])
        assert response["statusCode"] in STATUSES, (response, body[:300])
        items = answer["items"] if response["statusCode"] == 200 else [answer]
        admitted = 0
        for item in items:
            self.counts[f"{item.get('decision')} {(item.get('reason_codes') or [''])[0]}".strip()] += 1
            if response["statusCode"] == 413:
                continue
            assert item["status"] in _ITEM_STATUSES, (item, body[:300])
            if item["decision"] == "QUARANTINE":
                assert item["quarantine_id"] in self.kept, (item, body[:300])
            else:
                assert item["receipt"]["eb_ref"], (item, body[:300])
                admitted += item["decision"] == "ADMIT"
        mismatches = sum("PAYLOAD_HASH_MISMATCH" in (item.get("reason_codes") or ()) for item in items)
        assert self.bus.appended - before == admitted + mismatches, (items, body[:300])
        self.counts["items"] += len(items)
        self.counts["requests"] += 1


def carried(body: bytes) -> dict[str, Any]:
    """The body as API Gateway hands it over."""
    try:
        return {"body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


async def run(count: int, seed: int) -> Counter[str]:
    """So many fuzzed items; what was answered, by decision and reason."""
    log.muted = True
    fuzz, rng = Fuzz(), Random(seed)
    while fuzz.counts["items"] < count:
        await fuzz.one(rng)
        if len(fuzz.kept) > 100_000:
            fuzz.kept.clear()
    return fuzz.counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.ingress.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    began = time.monotonic()
    for name, number in sorted(asyncio.run(run(arguments.count, arguments.seed)).items()):
        sys.stdout.write(f"{name:48} {number:>10,}\n")
    sys.stdout.write(f"{'seconds':48} {time.monotonic() - began:>10,.0f}\n")
