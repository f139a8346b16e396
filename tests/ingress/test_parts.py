"""The parts of the edge that need no engine: key ring, bucket, settings, signature, row, record, turns."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec.structs import replace

from ingress.anomaly import Mismatch, anomaly_record
from ingress.inspection import Candidate, inspect
from ingress.policy import policy_digest
from ingress.rate import TokenBucket
from ingress.record import Caller, Stamp
from ingress.row import AdmissionRow, Item, State, from_item, to_item
from ingress.settings import POLICY_REV, EdgeSettings, RateProfile, SettingsError, posture_reasons
from ingress.signature import Signer
from ingress.turns import Turns
from laws.canonical import canonical_json
from laws.envelope import decode_envelope
from laws.headers import Provenance, missing_headers
from laws.payload_hash import payload_hash
from spine.rungs import Rung
from tests.ingress.rig import KEY_HASH, RUN, traffic

PROVENANCE = Provenance(POLICY_REV, policy_digest(), "c" * 64, "local-test")
STAMP = Stamp("P6", PROVENANCE, 0.0)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def candidate_of(envelope: dict[str, Any]) -> Candidate:
    found = inspect(json.dumps(envelope).encode(), RUN)
    assert isinstance(found, Candidate), found
    return found


# --- rate ---------------------------------------------------------------------------------------------------------------


def test_the_bucket_starts_full_and_owes_what_was_let_through() -> None:
    now = 0.0
    bucket = TokenBucket(200, 400, lambda: now)
    assert [bucket.admit() for _ in range(400)] == [0] * 400
    assert bucket.admit() == 1
    now = 1.0
    assert bucket.admit() == 0
    bucket.charge(799)  # an array of 800 that was let through as one request
    assert bucket.admit() == 4
    now = 4.1
    assert bucket.admit() == 0


# --- settings -----------------------------------------------------------------------------------------------------------


def settings(**changes: Any) -> EdgeSettings:
    return EdgeSettings.of(
        {
            "env": "dev_full",
            "release_id": "r1",
            "active_run": RUN,
            "credentials_parameter": "/fraud-platform/dev_full/ig/credentials",
            "claim_bucket": "fp-ig-claims",
            "schema_registry": "fp-schemas",
            "kafka_bootstrap": "boot.kafka-serverless.eu-west-1.example.org:9098",
            "kafka_security": "SASL_IAM",
            "kafka_region": "eu-west-1",
            "region": "eu-west-1",
            "dlq_url": "https://sqs.eu-west-1.amazonaws.com/1/ig-dlq",
        }
        | changes
    )


def test_a_managed_rung_refuses_loopback_plaintext_and_prefixes() -> None:
    assert posture_reasons(settings()) == []
    broken = settings(
        kafka_bootstrap="127.0.0.1:9092,[::1]:9092",
        kafka_security="PLAINTEXT",
        dynamodb_endpoint="http://localhost:8000",
        topic_prefix="t.",
    )
    reasons = "\n".join(posture_reasons(broken))
    for part in ("127.0.0.1", "::1", "localhost", "https", "SASL_IAM", "TOPIC_PREFIX"):
        assert part in reasons
    assert posture_reasons(settings(release_id="edge:latest")) == ["FP_IG_RELEASE_ID holds the word latest: pin a version"]
    assert posture_reasons(replace(broken, env=Rung.LOCAL_PARITY)) == []


@pytest.mark.parametrize("rung", [Rung.DEV_MIN, Rung.DEV_FULL, Rung.PROD_TARGET])
def test_the_measured_profile_is_refused_beyond_local_parity(rung: Rung) -> None:
    measured = settings(rate_profile="measured")
    assert "FP_IG_RATE_PROFILE=measured: nothing would hold a source back; use seed or scale" in posture_reasons(
        replace(measured, env=rung)
    )
    assert posture_reasons(replace(measured, env=Rung.LOCAL_PARITY)) == []


def test_the_profiles_are_those_of_the_contract() -> None:
    assert {profile.value: (profile.per_second, profile.burst) for profile in RateProfile} == {
        "seed": (200, 400),
        "scale": (3000, 6000),
        "measured": (100_000, 200_000),
    }


@pytest.mark.parametrize("hashes", ["the-key-itself", ",".join([KEY_HASH] * 3)])
def test_settings_take_one_or_two_digests_and_never_show_what_they_got(hashes: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(api_key_hashes=hashes)
    assert "FP_IG_API_KEY_HASHES" in str(refused.value)
    assert "the-key-itself" not in str(refused.value)


def test_a_lease_ends_after_every_publish_that_it_covers() -> None:
    with pytest.raises(SettingsError, match="FP_IG_LEASE_S"):
        settings(lease_s=5.0, publish_timeout_s=5.0)


def test_the_config_digest_follows_behaviour_and_not_places() -> None:
    assert settings().config_digest() == settings(kafka_bootstrap="other.example.org:9098", release_id="r2").config_digest()
    assert settings().config_digest() != settings(rate_profile="scale").config_digest()


# --- signature ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "https://dynamodb.eu-west-1.amazonaws.com/", "https://store.example.org:443/"])
@pytest.mark.parametrize("token", [None, "a/session+token="])
def test_the_signature_is_that_of_botocore(url: str, token: str | None) -> None:
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    body, target = b'{"TableName":"ig-idempotency"}', "DynamoDB_20120810.PutItem"
    request = AWSRequest("POST", url, headers={"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": target}, data=body)
    SigV4Auth(credentials, "dynamodb", "eu-west-1").add_auth(request)
    theirs = {name.lower(): value for name, value in request.headers.items()}
    moment = datetime.strptime(theirs["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert Signer(url, "dynamodb", "eu-west-1", credentials).headers(target, body, moment) == theirs


# --- row ----------------------------------------------------------------------------------------------------------------


def item_bytes(item: Item) -> int:
    """The size that DynamoDB counts: names, texts and bytes as they are, a number about half its digits and two."""
    size = 0
    for name, attribute in item.items():
        [(kind, value)] = attribute.items()
        sizes = {"S": lambda v: len(v.encode()), "B": lambda v: len(base64.b64decode(v)), "N": lambda v: (len(v) + 1) // 2 + 2}
        size += len(name) + sizes[kind](value)
    return size


def row_of(event_id: str, state: State) -> AdmissionRow:
    admitted = state is State.ADMITTED
    return AdmissionRow(
        dedupe_key="f" * 64,
        state=state,
        platform_run_id=RUN,
        event_class="context_arrival_entities",
        event_id=event_id,
        ts_utc="2026-01-05T10:00:00.000000Z",
        manifest_fingerprint=bytes(32),
        scenario_run_id=bytes(16),
        payload_hash=bytes(32),
        partition_key=bytes(32),
        cluster_id="fpbunAw-88y7pMEBxxjCmw",
        topic_id=bytes(16),
        topic="fp.bus.context.arrival_entities.v1",
        partition=5,
        policy_rev=POLICY_REV,
        config_digest=bytes(32),
        release_id="r" * 64,
        ttl_epoch=1_795_687_212,
        trace=bytes(25),
        offset=2**60 if admitted else None,
        published_at_ms=1_795_428_012_678 if admitted else None,
        admitted_at_ms=1_795_428_012_682 if admitted else None,
        lease_owner=None if admitted else bytes(8),
        lease_until_ms=None if admitted else 1_795_428_012_682,
        attempt=None if admitted else 9,
        low_water=None if admitted else 2**60,
    )


@pytest.mark.parametrize("state", list(State))
def test_a_row_fits_one_write_unit_with_the_longest_id_in_ascii_and_reads_back(state: State) -> None:
    row = row_of("e" * 256, state)
    item = to_item(row)
    assert item_bytes(item) <= 1024
    assert from_item(item) == row
    json.dumps(msgspec.structs.asdict(row), default=bytes.hex)  # numbers are ints: a Decimal would not be written


# --- record -------------------------------------------------------------------------------------------------------------


def test_a_record_has_all_headers_and_the_bytes_that_were_hashed() -> None:
    candidate = candidate_of(traffic(amount_minor=5, flow_id="flöw"))
    record, correlation = STAMP.record(candidate, Caller(TRACE, "vendor=1", "SYSTEM::x"))
    headers = dict(record.headers)
    assert missing_headers(headers) == ()
    assert headers["x-fp-runtime-lane"] == b"ig"
    assert headers["x-fp-phase-id"] == b"P6"
    assert headers["tracestate"] == b"vendor=1"
    assert record.value == canonical_json(json.loads(record.value))
    envelope = decode_envelope(record.value)
    assert payload_hash(envelope.event_type, bytes(envelope.payload), envelope.schema_version) == candidate.payload_hash
    assert envelope.traceparent == correlation.traceparent == headers["traceparent"].decode()
    assert correlation.trace_id == TRACE[3:35]
    assert correlation.traceparent[36:52] != TRACE[36:52]
    assert correlation.sampled


def test_what_the_producer_said_stays() -> None:
    said = traffic() | {"phase_id": "P4", "runtime_lane": "wsp", "trace_id": "their-own", "emitted_at_utc": "2026-01-05T10:00:09.000000Z"}
    record, _ = STAMP.record(candidate_of(said), Caller(None, None, "SYSTEM::x"))
    sent = json.loads(record.value)
    assert said == {name: sent[name] for name in said}


def test_the_trace_of_the_event_comes_before_that_of_the_request_and_an_invalid_one_is_none() -> None:
    own = "00-11111111111111111111111111111111-2222222222222222-00"

    def trace_of(envelope: dict[str, Any], traceparent: str | None) -> str:
        return STAMP.record(candidate_of(envelope), Caller(traceparent, None, "SYSTEM::x"))[1].trace_id

    event = traffic()
    assert trace_of(event | {"traceparent": own}, TRACE) == "1" * 32
    assert trace_of(event | {"traceparent": "00-zz"}, TRACE) == TRACE[3:35]
    derived = trace_of(event, "00-zz")
    assert derived == trace_of(event, None)
    assert derived != trace_of(traffic(), None)


def test_an_anomaly_has_one_form_whoever_publishes_it() -> None:
    _, correlation = STAMP.record(candidate_of(traffic()), Caller(TRACE, None, "SYSTEM::x"))
    mismatch = Mismatch(
        RUN, "traffic_fraud", "e1", "a" * 64, "b" * 64, "PUBLISH_IN_FLIGHT", None, "c" * 32, "2026-01-05T10:00:00.000000Z",
        "2026-01-05T10:00:02.000000Z", "1" * 64, "2" * 64, "42", "baseline_v1", correlation, PROVENANCE,
    )  # fmt: skip
    record = anomaly_record(mismatch)
    assert record == anomaly_record(mismatch)
    assert missing_headers(dict(record.headers)) == ()
    envelope = decode_envelope(record.value)
    assert (envelope.parent_event_id, envelope.producer, envelope.schema_version) == ("e1", "ig", "v1")
    assert dict(record.headers)["x-fp-event-id"].decode() == envelope.event_id


# --- turns -----------------------------------------------------------------------------------------------------------


async def test_one_key_is_one_at_a_time_and_nothing_is_left_behind() -> None:
    turns, running, most = Turns(), 0, 0

    async def work() -> None:
        nonlocal running, most
        async with turns.of("key"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 1
    assert not turns._waiting
