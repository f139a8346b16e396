"""The one workload of all contenders, and what must be left of it when somebody has drained it exactly.

Payments of many accounts as canonical envelopes of about 650 bytes with the full set of run headers, on a topic of six partitions keyed by
account. Of a hundred records one or two are exact duplicates of an earlier one, and some in a thousand carry the identity of an earlier one
with another amount. The same seed and size give the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import msgspec

from laws.catalogue import EventType
from laws.encode import canonical_struct
from laws.envelope import encode_envelope
from laws.event_classes import EventClass
from laws.fields import Currency, EventId, Instant, Label, MinorUnits
from laws.headers import Correlation, Provenance
from laws.pins import PIN_FIELDS
from laws.topics import KeyRecipe, Topic, TopicClass

PARTITIONS = 6
RUN = "platform_20260105T000000Z"

_KEY = KeyRecipe("bench.key.account.v1", ((("account_id",),),))


def _topic(name: str) -> Topic:
    return Topic(name, TopicClass.HIGH_VOLUME, PARTITIONS, 7, ("bench",), ("posting",), _KEY)


PAYMENTS = _topic("bench.payments.v1")
POSTINGS = _topic("bench.postings.v1")


class Payment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What comes in."""

    account_id: Label
    amount_minor: MinorUnits
    currency: Currency
    merchant_id: Label
    ts_utc: Instant


class Posting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes out for each payment that is new: where it left its account."""

    account_id: Label
    balance_minor: int
    payment_event_id: EventId
    postings: int


PAYMENT = EventType("bench_payment", EventClass.TRAFFIC_FRAUD, PAYMENTS, Payment, PIN_FIELDS, ("v1",))
POSTING = EventType("bench_posting", EventClass.RTDL_DECISION, POSTINGS, Posting, PIN_FIELDS, ("v1",))

_PINS = {
    "platform_run_id": RUN,
    "scenario_run_id": "a" * 32,
    "manifest_fingerprint": "b" * 64,
    "parameter_hash": "c" * 64,
    "seed": "7",
    "scenario_id": "baseline",
}
_PROVENANCE = Provenance("world.v1", "d" * 64, "e" * 64, "bench")

_DUPLICATES = 0.015
_CHANGED = 0.002
# Copies come soon after their first, as a retrying producer sends them, or long after it, as a replayed file does.
_RECENT = 200


class Kind(StrEnum):
    """What a record is to whoever has read everything before it in its partition."""

    NEW = "new"
    DUPLICATE = "duplicate"
    MISMATCH = "mismatch"


class Record(NamedTuple):
    """One record as the edge would publish it, and what is known of it."""

    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    kind: Kind
    event_id: str
    amount_minor: int


class Expected(NamedTuple):
    """What an exact drain of a part of the workload leaves behind."""

    records: int
    event_ids: frozenset[str]
    """Distinct identities: as many rows of the inbox, postings of accounts and outputs."""
    amount_minor: int
    """Sum of the balances of all accounts."""
    mismatches: int


def records(size: int, seed: int = 1) -> Iterator[Record]:
    """The workload's first `size` records; a longer workload of the same seed begins with them."""
    draw = random.Random(seed)  # noqa: S311  a workload must be repeatable, not secret
    accounts = [_Account(number) for number in range(ACCOUNTS)]
    made: list[tuple[_Account, str, Payment]] = []
    for number in range(size):
        roll = draw.random()
        if made and roll < _DUPLICATES + _CHANGED:
            account, event_id, payment = draw.choice(made[-_RECENT:] if draw.random() < 0.5 else made)
            if roll < _DUPLICATES:
                yield _record(account, event_id, payment, Kind.DUPLICATE)
            else:
                # One more than any amount of a first: a changed copy differs from its first, and copies of it from nothing but the first.
                yield _record(account, event_id, msgspec.structs.replace(payment, amount_minor=_LARGEST + 1 + number), Kind.MISMATCH)
            continue
        account = draw.choice(accounts)
        payment = Payment(
            account_id=account.account_id,
            amount_minor=draw.randint(1, _LARGEST),
            currency="EUR",
            merchant_id=f"merchant-{draw.randrange(5000):06d}",
            ts_utc=_instant(number),
        )
        event_id = sha256(f"bench payment {seed} {number}".encode()).hexdigest()
        made.append((account, event_id, payment))
        yield _record(account, event_id, payment, Kind.NEW)


ACCOUNTS = 20_000
"""Many more keys than a batch has records: few rows of a batch meet."""

_LARGEST = 50_000


class _Account:
    """An account and where its records go."""

    def __init__(self, number: int) -> None:
        self.account_id = f"account-{number:08d}"
        self.key = _KEY.key_of_values([self.account_id])
        self.partition = PAYMENTS.partition(self.key)


def _instant(number: int) -> str:
    seconds, micros = divmod(number * 97, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"2026-01-05T{hours % 24:02d}:{minute:02d}:{second:02d}.{micros:06d}Z"


def _record(account: _Account, event_id: str, payment: Payment, kind: Kind) -> Record:
    trace_id = event_id[:32]
    correlation = Correlation(f"00-{trace_id}-{event_id[32:48]}-00", "", RUN, _PINS["scenario_run_id"], "P6", event_id, "ig")
    fields = {
        **_PINS,
        "event_id": event_id,
        "event_type": PAYMENT.name,
        "ts_utc": payment.ts_utc,
        "schema_version": "v1",
        "producer": "bench",
    }
    value = encode_envelope(fields, canonical_struct(payment))
    headers = [*correlation.headers(), *_PROVENANCE.headers()]
    return Record(account.partition, account.key, value, headers, kind, event_id, payment.amount_minor)


def expected(made: Sequence[Record], stops: Mapping[int, int]) -> Expected:
    """What is left when each partition was drained up to its stop (offsets from 0, half-open) and nothing else."""
    seen = dict.fromkeys(range(PARTITIONS), 0)
    event_ids: set[str] = set()
    amount = mismatches = count = 0
    for record in made:
        offset = seen[record.partition]
        seen[record.partition] = offset + 1
        if offset >= stops[record.partition]:
            continue
        count += 1
        if record.kind is Kind.NEW:
            event_ids.add(record.event_id)
            amount += record.amount_minor
        elif record.kind is Kind.MISMATCH:
            mismatches += 1
    return Expected(count, frozenset(event_ids), amount, mismatches)


def stops_of(made: Sequence[Record], size: int) -> dict[int, int]:
    """Where each partition ends when only the first `size` records are drained."""
    stops = dict.fromkeys(range(PARTITIONS), 0)
    for record in made[:size]:
        stops[record.partition] += 1
    return stops
