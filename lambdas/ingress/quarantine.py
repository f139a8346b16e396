"""Refused items, kept before anybody is told (domain.md 2.7, 2.12). One row a refusal; a retry of the same item adds nothing."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from ingress.anomaly import Mismatch
from ingress.inspection import Known, Refused
from ingress.policy import WRITER
from ingress.quarantine_rows import PENDING, QuarantineRows
from ingress.receipt import current_policy_rev
from ingress.record import Caller, continued
from ingress.row import Item, binary, number, text
from ingress.settings import POLICY_REV
from laws.canonical import canonical_json
from laws.ids import quarantine_id
from laws.trace_context import child, derive_span_id, derive_trace_id, start

# A DynamoDB item holds 400 KB. A lawful payload is below 2 KB; of anything longer the start and the digest are evidence enough.
MAX_BODY_BYTES = 65_536
MAX_ENVELOPE_BYTES = 65_536

_MISMATCH = msgspec.json.Decoder(Mismatch)


class Kept(NamedTuple):
    """A refusal that is durable; `pending` is the mismatch whose anomaly is not on the bus yet."""

    quarantine_id: str
    pending: Mismatch | None


@dataclass(frozen=True, slots=True)
class Scene:
    """What a record says about the edge that refused."""

    environment: str
    release_id: str
    config_digest: str


def id_of(refused: Refused) -> str:
    """The quarantine_id: scoped by what is known of the identity, and by payload hash or raw digest."""
    known = refused.known
    digest = known.payload_hash or known.raw_digest
    reasons = [reason.value for reason in refused.reasons]
    return quarantine_id(known.text("platform_run_id"), known.event_class, known.text("event_id"), digest, reasons)


class Quarantine:
    """The quarantine records. Methods raise ingress.dynamodb.StoreError; without the row there is no QUARANTINE, only a retry."""

    def __init__(self, rows: QuarantineRows, scene: Scene) -> None:
        self._rows = rows
        self._scene = scene

    async def keep(self, refused: Refused, received_at_utc: str, caller: Caller, mismatch: Mismatch | None = None) -> Kept:
        """Writes the record if it is new. Where it stands already, what stood first counts, the mismatch included."""
        name = mismatch.quarantine_id if mismatch else id_of(refused)
        item = self._item(name, refused, received_at_utc, caller)
        if mismatch is not None:
            item["mismatch"] = text(msgspec.json.encode(mismatch).decode())
            item["anomaly_published"] = {"BOOL": False}
            item["anomaly_pending"] = text(PENDING)
        standing = await self._rows.put_new(item)
        return Kept(name, mismatch if standing is None else _pending(standing))

    async def pending(self) -> AsyncIterator[Mismatch]:
        """The mismatches whose anomaly is not on the bus yet, as far as the rows know."""
        async for item in self._rows.pending():
            mismatch = _pending(item)
            if mismatch is not None:
                yield mismatch

    async def mark_published(self, quarantine: str) -> None:
        """Notes that the bus has acknowledged the anomaly of this record."""
        await self._rows.mark_published(quarantine)

    def _item(self, name: str, refused: Refused, received_at_utc: str, caller: Caller) -> Item:
        known, detail, scene = refused.known, refused.detail, self._scene
        item: Item = {
            "quarantine_id": text(name),
            "decision": text("QUARANTINE"),
            "reason_codes": {"L": [text(reason.value) for reason in refused.reasons]},
            "received_at_utc": text(received_at_utc),
            "detail": text(msgspec.json.encode(detail).decode()),
            "policy_rev": text(msgspec.json.encode(current_policy_rev(POLICY_REV)).decode()),
            "actor_id": text(caller.principal),
            "traceparent": text(_place(name, known, caller)),
            "environment": text(scene.environment),
            "service_release_id": text(scene.release_id),
            "run_config_digest": text(scene.config_digest),
            "raw_sha256": text(known.raw_digest),
        }
        pins = ("platform_run_id", "scenario_run_id", "manifest_fingerprint", "event_id", "event_type")
        item |= {pin: text(known.text(pin)) for pin in pins if known.text(pin)}
        if known.event_class:
            item["event_class"] = text(known.event_class)
        if known.payload_hash:
            item["payload_hash"] = text(known.payload_hash)
        return item | _bodies(known)


def _place(name: str, known: Known, caller: Caller) -> str:
    """Where the refusal stands in a trace: that of the item or of its request, or one that starts with it."""
    context = continued(known.text("traceparent") or None, known.text("tracestate") or None, caller)
    parent = context.traceparent if context else start(derive_trace_id("ig.refusal", name), derive_span_id(name, "root"), sampled=False)
    return child(parent, derive_span_id(parent.trace_id, WRITER, name)).header()


def _bodies(known: Known) -> Item:
    """Envelope and payload apart where the item could be read, its bytes as they came where not; each with its true size."""
    if not known.head:
        return _bounded("raw_body", known.raw)
    item: Item = {}
    envelope = canonical_json(known.head)
    if len(envelope) <= MAX_ENVELOPE_BYTES:
        item["envelope"] = text(envelope.decode())
    if known.payload is not None:
        item |= _bounded("payload", known.payload)
    return item


def _bounded(name: str, body: bytes) -> Item:
    return {
        name: binary(body[:MAX_BODY_BYTES]),
        f"{name}_bytes": number(len(body)),
        f"{name}_sha256": text(hashlib.sha256(body).hexdigest()),
    }


def _pending(item: Item) -> Mismatch | None:
    if "mismatch" not in item or item["anomaly_published"]["BOOL"]:
        return None
    return _MISMATCH.decode(item["mismatch"]["S"])
