"""The receipt (domain.md 2.11), made from the admission row alone, so that a duplicate gets the receipt of the original."""

from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache

import msgspec

from ingress.policy import TYPE_OF_CLASS, policy_digest
from ingress.row import AdmissionRow, topic_id_text
from laws.coordinates import OFFSET_KIND
from laws.ids import receipt_id
from laws.times import format_instant


class Decision(StrEnum):
    """What the edge decided (domain.md 2.7). RETRY is no decision: nothing is decided yet, send again with the same event_id."""

    ADMIT = "ADMIT"
    DUPLICATE = "DUPLICATE"
    QUARANTINE = "QUARANTINE"
    RETRY = "RETRY"


class PayloadHash(msgspec.Struct, frozen=True, gc=False):
    """A digest and how it was made."""

    algo: str
    hex: str


class PolicyRev(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The schema policy that judged. `content_digest` is left out where the row was written under another build's policy."""

    policy_id: str
    revision: str
    content_digest: str | None = None


class EbRef(msgspec.Struct, frozen=True, gc=False):
    """Where the event stands on the bus. Offsets are strings in JSON (architecture.md, settled questions)."""

    cluster_id: str
    topic_id: str
    topic: str
    partition: int
    offset: str
    offset_kind: str
    published_at_utc: str


class EvidenceRef(msgspec.Struct, frozen=True, gc=False):
    """What a receipt points at: the event's place in its trace, as W3C writes it."""

    kind: str
    ref: str


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """ADMIT or DUPLICATE, in the words of the contract."""

    receipt_id: str
    decision: Decision
    event_id: str
    event_type: str
    event_class: str
    ts_utc: str
    manifest_fingerprint: str
    platform_run_id: str
    scenario_run_id: str
    run_config_digest: str
    policy_rev: PolicyRev
    admitted_at_utc: str
    service_release_id: str
    payload_hash: PayloadHash
    partitioning_profile_id: str
    partition_key: str
    dedupe_key: str
    eb_ref: EbRef
    evidence_refs: tuple[EvidenceRef, ...]


def receipt_of(row: AdmissionRow, decision: Decision) -> Receipt:
    """The receipt of an admitted row. Raises ValueError for a row that is not."""
    if row.offset is None or row.admitted_at_ms is None or row.published_at_ms is None:
        raise ValueError(f"row {row.dedupe_key} is {row.state}: only an admitted row has a receipt")
    event_type = TYPE_OF_CLASS[row.event_class]
    assert event_type.topic is not None
    payload_hash = row.payload_hash.hex()
    return Receipt(
        receipt_id=receipt_id(row.platform_run_id, row.event_class, row.event_id, decision.value, payload_hash),
        decision=decision,
        event_id=row.event_id,
        event_type=event_type.name,
        event_class=row.event_class,
        ts_utc=row.ts_utc,
        manifest_fingerprint=row.manifest_fingerprint.hex(),
        platform_run_id=row.platform_run_id,
        scenario_run_id=row.scenario_run_id.hex(),
        run_config_digest=row.config_digest.hex(),
        policy_rev=policy_rev(row.policy_rev),
        admitted_at_utc=instant_of(row.admitted_at_ms),
        service_release_id=row.release_id,
        payload_hash=PayloadHash("sha256", payload_hash),
        partitioning_profile_id=event_type.topic.key.name,
        partition_key=row.partition_key.hex(),
        dedupe_key=row.dedupe_key,
        eb_ref=EbRef(
            cluster_id=row.cluster_id,
            topic_id=topic_id_text(row.topic_id),
            topic=row.topic,
            partition=row.partition,
            offset=str(row.offset),
            offset_kind=OFFSET_KIND,
            published_at_utc=instant_of(row.published_at_ms),
        ),
        evidence_refs=(EvidenceRef("traceparent", row.traceparent),) if row.trace else (),
    )


@cache  # a build knows a handful
def policy_rev(name: str, digest: str | None = None) -> PolicyRev:
    """A policy revision by its name, `<policy id>.<revision>`."""
    policy_id, _, revision = name.rpartition(".")
    return PolicyRev(policy_id, revision, digest)


def current_policy_rev(name: str) -> PolicyRev:
    """The revision in force, with the digest of its content."""
    return policy_rev(name, policy_digest())


@lru_cache(maxsize=1024)  # the rows of an array share theirs
def instant_of(epoch_ms: int) -> str:
    """Epoch milliseconds as the platform writes an instant."""
    return format_instant(datetime.fromtimestamp(epoch_ms / 1000, UTC))
