"""The law that every contender does for each record, and its parts that need no service around them.

1. Read the record; decode its envelope and its payload; refuse it unless all run headers are there and say what the envelope says.
2. Hash the payload's bytes as they stand; the identity is (platform_run_id, event_class, event_id).
3. In one transaction: the identity is NEW, DUPLICATE or MISMATCH (which is recorded with both hashes); a NEW one moves its account's row
   and leaves one output row, whose bytes tell where the account stands; the position moves past the record.
4. Publish the output's bytes as they were stored, and mark the stored row as published once the bus has acknowledged it.

This module is written for speed, without the spine: it is what the floor and the peers run on, so that none of them pays for the laws'
library. Its outputs have the form of the spine's: a canonical envelope with the full set of headers and pins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from benchmarks.workload import PAYMENT, POSTING, RUN
from laws.headers import (
    BUNDLE_ID,
    CONFIG_DIGEST,
    EVENT_ID,
    PHASE_ID,
    PLATFORM_RUN_ID,
    POLICY_REV,
    RELEASE_ID,
    REQUIRED,
    RUNTIME_LANE,
    SCENARIO_RUN_ID,
    TRACEPARENT,
)

RUN_NO = 1
CLASS_NO = PAYMENT.event_class.number

_TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_BEFORE = b'{"event_type":"' + PAYMENT.name.encode() + b'","payload":'
_AFTER = b',"schema_version":"v1"}'


class LawlessError(ValueError):
    """A record that the law refuses; no record of the workload is one."""


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    event_id: str
    event_type: str
    manifest_fingerprint: str
    parameter_hash: str
    payload: msgspec.Raw
    platform_run_id: str
    producer: str
    scenario_id: str
    scenario_run_id: str
    schema_version: str
    seed: str
    ts_utc: str


class _Payment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    account_id: str
    amount_minor: int
    currency: str
    merchant_id: str
    ts_utc: str


class _Posting(msgspec.Struct, frozen=True, gc=False):
    account_id: str
    balance_minor: int
    payment_event_id: str
    postings: int


class _Output(msgspec.Struct, frozen=True, gc=False):
    """Fields in the order of canonical JSON."""

    emitted_at_utc: str
    event_id: str
    event_type: str
    manifest_fingerprint: str
    parameter_hash: str
    parent_event_id: str
    payload: _Posting
    phase_id: str
    platform_run_id: str
    producer: str
    runtime_lane: str
    scenario_id: str
    scenario_run_id: str
    schema_version: str
    seed: str
    traceparent: str
    ts_utc: str


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_PAYMENT = msgspec.json.Decoder(_Payment)
_ENCODER = msgspec.json.Encoder()
_HEADERS = msgspec.msgpack.Encoder()
_PROVENANCE = [
    (PHASE_ID, b"P6"),
    (RUNTIME_LANE, b"df"),
    (POLICY_REV, b"posting.v1"),
    (BUNDLE_ID, b"d" * 64),
    (CONFIG_DIGEST, b"e" * 64),
    (RELEASE_ID, b"bench"),
]

Headers = list[tuple[str, bytes]]


class Judged(NamedTuple):
    """A record that is lawful by itself."""

    partition: int
    offset: int
    key: bytes
    event_id: bytes
    payload_hash: bytes
    account_id: str
    amount_minor: int
    envelope: _Envelope
    traceparent: bytes


class Output(NamedTuple):
    """A record to publish. Its key and partition are its input's: both topics share one key recipe and one partition count."""

    partition: int
    offset: int
    """Of the input."""
    key: bytes
    event_id: bytes
    headers: Headers
    stored_headers: bytes
    value: bytes


def judge(partition: int, offset: int, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> Judged:
    """Steps 1 and 2. Raises LawlessError or msgspec.MsgspecError."""
    envelope = _ENVELOPE.decode(value)
    found = dict(headers)
    try:
        traceparent, run, scenario, event_id, *rest = [found[name] for name in _NAMES]
    except KeyError as error:
        raise LawlessError(f"header {error} is missing") from None
    if not all(rest) or _TRACEPARENT(traceparent) is None:
        raise LawlessError("a header is empty, or the trace context is invalid")
    if (
        run.decode() != envelope.platform_run_id
        or event_id.decode() != envelope.event_id
        or scenario.decode() != envelope.scenario_run_id
        or envelope.event_type != PAYMENT.name
        or envelope.platform_run_id != RUN
    ):
        raise LawlessError(f"the headers of event {envelope.event_id} say something else than its envelope")
    raw = bytes(envelope.payload)
    payment = _PAYMENT.decode(raw)
    digest = sha256(b"".join((_BEFORE, raw, _AFTER))).digest()
    return Judged(
        partition,
        offset,
        key,
        bytes.fromhex(envelope.event_id),
        digest,
        payment.account_id,
        payment.amount_minor,
        envelope,
        traceparent,
    )


_FIRST_NAMES = (TRACEPARENT, PLATFORM_RUN_ID, SCENARIO_RUN_ID, EVENT_ID)
_NAMES = (*_FIRST_NAMES, *(name for name in REQUIRED if name not in _FIRST_NAMES))


def now() -> str:
    """The instant that a transaction's outputs carry."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def output(judged: Judged, postings: int, balance_minor: int, at: str) -> Output:
    """The output of a NEW payment that left its account there."""
    envelope = judged.envelope
    digest = sha256(_OUTPUT_RECIPE + judged.event_id).digest()
    event_id = digest.hex()
    traceparent = b"%b%b%b" % (judged.traceparent[:36], event_id[:16].encode(), judged.traceparent[52:])
    value = _ENCODER.encode(
        _Output(
            at,
            event_id,
            POSTING.name,
            envelope.manifest_fingerprint,
            envelope.parameter_hash,
            envelope.event_id,
            _Posting(judged.account_id, balance_minor, envelope.event_id, postings),
            "P6",
            RUN,
            "posting",
            "df",
            envelope.scenario_id,
            envelope.scenario_run_id,
            "v1",
            envelope.seed,
            traceparent.decode(),
            envelope.ts_utc,
        )
    )
    headers = [
        (TRACEPARENT, traceparent),
        (PLATFORM_RUN_ID, _RUN),
        (SCENARIO_RUN_ID, envelope.scenario_run_id.encode()),
        (EVENT_ID, event_id.encode()),
        *_PROVENANCE,
    ]
    return Output(judged.partition, judged.offset, judged.key, digest, headers, _HEADERS.encode(headers), value)


_RUN = RUN.encode()
_OUTPUT_RECIPE = b"bench.posting.v1 " + _RUN + b" "
