"""Payloads by reference are read back and verified before they are applied; what is not what its claim says never is, and is told."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from msgspec import Raw, ValidationError, json
from msgspec.structs import replace as with_fields

from audit.auditor import audit
from audit.replay import replay
from laws.catalogue import EVENT_TYPES
from laws.claims import CLAIM, Claim, Fetch, claim_of
from laws.contracts.audit import CorridorAnomaly
from laws.encode import canonical_struct
from laws.envelope import decode_envelope
from laws.payload_hash import payload_hash
from laws.topics import AUDIT
from ledger import service as ledger
from ledger.service import ENTRY
from rig import Record, Rig, entry
from spine.runtime import Runtime
from tests.audit.history import target


class Objects:
    """An object store that a test can spoil."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.away = 0
        """So many reads find nobody who answers."""
        self.reads = 0

    async def fetch(self, ref: str) -> bytes | None:
        self.reads += 1
        if self.away:
            self.away -= 1
            raise ConnectionRefusedError("the store is away")
        return self.held.get(ref)

    def checked_in(self, record: Record) -> Record:
        """The same event with its payload left here, as the edge does it."""
        envelope = decode_envelope(record.value)
        payload = bytes(envelope.payload)
        ref = f"s3://claims/{len(self.held)}"
        self.held[ref] = payload
        claim = claim_of(ref, payload, payload_hash(envelope.event_type, payload, envelope.schema_version))
        value = json.encode(with_fields(envelope, payload=Raw(canonical_struct(claim))), order="sorted")
        return replace(record, value=value, headers=(*record.headers, (CLAIM, ref.encode())))


def reads_by(fetch: Fetch) -> Callable[[Runtime], None]:
    """A worker whose lanes read claims so."""

    def change(runtime: Runtime) -> None:
        for decoder in runtime.decoders.values():
            decoder.claims = fetch

    return change


async def no_findings(rig: Rig, fetch: Fetch) -> None:
    """Everything is as it was certified, and comes out the same again."""
    report = await audit(target(rig))
    assert report.findings == ()
    service = ledger.build(rig.site.settings("ledger"))
    service = replace(service, groups=tuple(replace(group, claims=fetch) for group in service.groups))
    assert (await replay(target(rig), service, rig.site.settings("ledger"))).report.findings == ()


async def test_a_claimed_payload_is_applied_as_if_it_had_come_with_its_record(rig: Rig) -> None:
    await rig.site.topics([AUDIT])
    objects = Objects()
    changed = objects.checked_in(entry("e1", amount=9))
    async with rig.worker(reads_by(objects.fetch)):
        await rig.send(
            objects.checked_in(entry("e1", amount=5)),
            entry("e1", amount=5),  # the same event, whole: one identity and one hash
            objects.checked_in(entry("e2", amount=2)),
            changed,
            entry("e3", amount=1),
        )
        await rig.quiet(5)
        await rig.until("SELECT count(*)::int FROM anomaly", 1)
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 8
    assert await rig.value("SELECT string_agg(verdicts, '' ORDER BY lane_seq) FROM certificate WHERE verdicts <> ''") == "NDNMN"
    (row,) = await rig.rows("SELECT first_hash, other_hash FROM anomaly")
    hashes = [payload_hash(ENTRY.name, bytes(decode_envelope(entry("e1", amount=n).value).payload), "v1") for n in (5, 9)]
    assert [bytes(row["first_hash"]), bytes(row["other_hash"])] == hashes
    assert objects.reads == 3  # what carries its payload is not asked for
    await no_findings(rig, objects.fetch)


async def test_an_object_that_is_not_what_its_claim_says_is_parked_and_an_anomaly_and_never_applied(rig: Rig) -> None:
    await rig.site.topics([AUDIT])
    objects = Objects()
    altered, missing = objects.checked_in(entry("e1", amount=5)), objects.checked_in(entry("m1", account="m"))
    refs = list(objects.held)
    objects.held[refs[0]] = objects.held[refs[0]].replace(b"5", b"7")
    del objects.held[refs[1]]
    no_claim = replace(entry("n1", account="n"), headers=(*entry("n1", account="n").headers, (CLAIM, b"s3://claims/0")))
    no_claim = replace(no_claim, value=no_claim.value.replace(b"amount", b"amounts"))
    async with rig.worker(reads_by(objects.fetch)):
        await rig.send(altered, entry("e2"), missing, no_claim, entry("b1", account="b", amount=4))
        await rig.quiet(5)
    parked = {row["reason"]: row["detail"] for row in await rig.rows("SELECT reason, detail FROM parked ORDER BY lane_seq, i")}
    assert parked == {
        "PAYLOAD_HASH_MISMATCH": f"claim {refs[0]}: other bytes",
        "BEHIND_PARKED_KEY": "an earlier event of this key is parked",
        "DEPENDENCY_UNAVAILABLE": f"claim {refs[1]}: missing",
        "CONTRACT_INVALID": parked["CONTRACT_INVALID"],
    }
    assert parked["CONTRACT_INVALID"].startswith("claim: ")
    assert {row["event_id"] for row in await rig.rows("SELECT event_id FROM entry")} == {"b1"}  # other keys flow
    (told,) = await rig.read(AUDIT)
    anomaly = json.decode(decode_envelope(told.value).payload, type=CorridorAnomaly)
    assert (anomaly.reason_code, anomaly.subject.event_id, anomaly.observer) == ("PAYLOAD_HASH_MISMATCH", "e1", "ledger")
    assert anomaly.details == {"claim_ref": refs[0], "claim": "other bytes"}
    assert anomaly.first_payload_hash == _claim(altered).payload_hash != anomaly.other_payload_hash
    assert await rig.value("SELECT count(*)::int FROM anomaly") == 1
    await no_findings(rig, objects.fetch)


async def test_a_store_that_is_away_is_waited_for_and_holds_nothing_against_a_record(rig: Rig) -> None:
    objects = Objects()
    objects.away = 4
    async with rig.worker(reads_by(objects.fetch)):
        await rig.send(entry("e1"), objects.checked_in(entry("e2", amount=2)), entry("e3", amount=3))
        await rig.quiet(3)
    assert objects.reads == 5
    assert await rig.value("SELECT max(epoch)::int FROM lane") == 1  # the lane stayed with its owner
    assert await rig.value("SELECT balance FROM account WHERE account = 'a'") == 6
    assert await rig.rows("SELECT reason FROM parked") == []


async def test_a_service_that_declares_no_way_to_read_claims_parks_them_by_name(rig: Rig) -> None:
    objects = Objects()
    async with rig.worker():
        await rig.send(objects.checked_in(entry("e1")))
        await rig.quiet(1)
    (row,) = await rig.rows("SELECT reason, detail FROM parked")
    assert (row["reason"], "declares no way to read it" in row["detail"]) == ("CONTRACT_INVALID", True)


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_no_contract_takes_a_claim_for_a_payload(name: str) -> None:
    """Claims are looked for among what fails its contract."""
    claim = canonical_struct(claim_of("s3://claims/1", b"{}", bytes(32)))
    with pytest.raises(ValidationError):
        json.decode(claim, type=EVENT_TYPES[name].contract)


def _claim(record: Record) -> Claim:
    return json.decode(decode_envelope(record.value).payload, type=Claim)
