"""What one edge process is told, all of it by the environment (FP_ENV, FP_IG_*), and the posture of its rung (architecture.md).

Read with msgspec: a validation library that costs a cold start 200 ms would be its largest part.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from laws.canonical import canonical_json
from laws.fields import Label, PlatformRunId
from spine.rungs import KafkaSecurity, PostureError, Rung, is_local

POLICY_REV = "ig.schema_policy.v1"
PREFIX = "FP_IG_"

# Room between the end of a publish and the end of its row's lease: bytes that already left may still be appended in it.
LEASE_MARGIN_S = 1.0

_LATEST = re.compile(r"(^|[:@/.-])latest$")


class RateProfile(StrEnum):
    """Named limits (domain.md appendix B, IG rate)."""

    SEED = "seed"
    SCALE = "scale"
    MEASURED = "measured"
    """No limit that a measurement could meet: what the platform holds is looked for, not what the edge lets pass. local_parity alone."""

    @property
    def per_second(self) -> int:
        """Events that flow for ever."""
        return {RateProfile.SEED: 200, RateProfile.SCALE: 3000, RateProfile.MEASURED: 100_000}[self]

    @property
    def burst(self) -> int:
        """Events that may come at once after a pause."""
        return 2 * self.per_second


class Table(StrEnum):
    """Where the admission rows live."""

    DYNAMODB = "dynamodb"
    MEMORY = "memory"
    """In the process, for a benchmark; local_parity alone, and one process."""


class SettingsError(ValueError):
    """The environment says something that can't be meant; names the variable, never its value."""


Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Text = Annotated[str, Meta(min_length=1)]
KeyHash = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the edge. API keys are known by their SHA-256 only; AWS credentials come from the standard chain."""

    env: Rung
    # Both go into every row; the bound keeps a row with the longest event id within 1 KiB (domain.md 2.9).
    release_id: Annotated[str, Meta(min_length=1, max_length=64)]
    active_run: PlatformRunId
    phase_id: Label = "P6"
    # Who may push: a parameter of SSM, or for the local rungs the same document as it stands, or keys alone (ingress.producers).
    credentials_parameter: str = ""
    credentials: str = ""
    # Two at once, so that a key can be rotated without a moment in which no key is good.
    api_key_hashes: Annotated[tuple[KeyHash, ...], Meta(max_length=2)] = ()

    kafka_bootstrap: str
    kafka_security: KafkaSecurity
    kafka_region: str = ""
    # Lets tests share a broker; the platform's own topics have no prefix.
    topic_prefix: str = ""

    region: Text
    dynamodb_endpoint: str = ""
    ssm_endpoint: str = ""
    s3_endpoint: str = ""
    table: Table = Table.DYNAMODB
    idempotency_table: str = "ig-idempotency"
    quarantine_table: str = "ig-quarantine"
    # Quarantine records in a file instead, for a benchmark; local_parity alone, and one process.
    quarantine_file: str = ""
    # The dead-letter queue (authority.md 5.1.1 item 11, IG_DLQ_MODE); without one the reconciler's sweep alone finds what is left behind.
    dlq_url: str = ""
    # Payloads above so many bytes go by reference (a claim check): Kafka brokers take a record of 1 MiB, and a lane's batch holds hundreds.
    claim_bucket: str = ""
    # Receipts and quarantine records, written behind the hot path (ingress.archive).
    archive_bucket: str = ""
    claim_bytes: Count = 262_144
    # Glue's registry, in which the contracts of this release have to stand before anything comes in; without one their files are enough.
    schema_registry: str = ""
    glue_endpoint: str = ""

    rate_profile: RateProfile = RateProfile.SEED
    # authority.md 5.1.1 item 11: IG_MAX_REQUEST_BYTES, IG_REQUEST_TIMEOUT_SECONDS, IG_IDEMPOTENCY_TTL_SECONDS.
    max_body_bytes: Count = 1_048_576
    request_timeout_s: Positive = 30.0
    idempotency_ttl_s: Count = 259_200
    # 1 MiB holds about 1500 events of the engine; a body of a million tiny refusals would cost a million rows.
    max_items: Count = 2000
    # Events without an answer that one process keeps: two full arrays. At 1000 a second what comes last waits 4 s of its request's 30.
    max_in_hand: Count = 4000
    # Items in work at once, hence also connections to the store: above it only the queue in front of the store grows.
    concurrency: Annotated[int, Meta(ge=1, le=1024)] = 32
    publish_timeout_s: Positive = 5.0
    lease_s: Positive = 10.0
    probe_s: Positive = 30.0
    # Share of the traces that start here which are recorded; a trace that arrives keeps its sender's choice.
    trace_sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.0

    def __repr__(self) -> str:
        """Nothing that may be a secret."""
        return f"EdgeSettings(env={self.env}, release_id={self.release_id!r}, config_digest={self.config_digest()})"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Settings from values by field name, texts or what they mean. Raises SettingsError."""
        given = dict(values)
        if isinstance(hashes := given.get("api_key_hashes"), str):
            given["api_key_hashes"] = [part.strip() for part in hashes.split(",") if part.strip()]
        try:
            settings = msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(_in_our_words(str(error))) from None
        if settings.lease_s < settings.publish_timeout_s + LEASE_MARGIN_S:
            raise SettingsError(
                f"FP_IG_LEASE_S={settings.lease_s:g} must be at least FP_IG_PUBLISH_TIMEOUT_S={settings.publish_timeout_s:g} + "
                f"{LEASE_MARGIN_S:g}: else a row is taken over while its first publish may still land"
            )
        if settings.max_in_hand < settings.max_items:
            raise SettingsError(
                f"FP_IG_MAX_IN_HAND={settings.max_in_hand} is below FP_IG_MAX_ITEMS={settings.max_items}: an array of so many would be "
                "turned away for ever"
            )
        return settings

    @property
    def dynamodb_url(self) -> str:
        """The engine's address: the one given, else the region's own."""
        return self.dynamodb_endpoint or f"https://dynamodb.{self.region}.amazonaws.com"

    @property
    def ssm_url(self) -> str:
        """As above."""
        return self.ssm_endpoint or f"https://ssm.{self.region}.amazonaws.com"

    @property
    def s3_url(self) -> str:
        """As above."""
        return self.s3_endpoint or f"https://s3.{self.region}.amazonaws.com"

    @property
    def glue_url(self) -> str:
        """As above."""
        return self.glue_endpoint or f"https://glue.{self.region}.amazonaws.com"

    def config_digest(self) -> str:
        """Digest (hex64) of everything that may change behaviour; addresses and keys are not behaviour."""
        secrets = {"api_key_hashes", "credentials", "credentials_parameter"}
        places = secrets | {
            "kafka_bootstrap",
            "dynamodb_endpoint",
            "ssm_endpoint",
            "s3_endpoint",
            "glue_endpoint",
            "schema_registry",
            "dlq_url",
            "claim_bucket",
            "archive_bucket",
            "quarantine_file",
            "release_id",
        }
        shown = {name: str(value) for name, value in msgspec.structs.asdict(self).items() if name not in places}
        return hashlib.sha256(canonical_json(shown)).hexdigest()


_VARIABLES = {field: "FP_ENV" if field == "env" else f"{PREFIX}{field.upper()}" for field in EdgeSettings.__struct_fields__}
_FIELD = re.compile(r"`(?:\$\.)?([a-z_0-9]+)(?:\[[^`]*)?`")


def _in_our_words(message: str) -> str:
    """An error of msgspec with the variables in the places of the fields; it holds no value."""
    return _FIELD.sub(lambda found: _VARIABLES.get(found[1], found[0]), message)


def load_settings() -> EdgeSettings:
    """Settings from the environment, checked. Raises SettingsError or spine.rungs.PostureError."""
    named = {field: os.environ[variable] for field, variable in _VARIABLES.items() if variable in os.environ}
    settings = EdgeSettings.of(named)
    if reasons := posture_reasons(settings):
        raise PostureError(settings.env.value, reasons)
    return settings


def posture_reasons(settings: EdgeSettings) -> list[str]:
    """Everything that forbids this edge to run on its rung; empty when nothing does."""
    reasons = []
    if _LATEST.search(settings.release_id):
        reasons.append("FP_IG_RELEASE_ID holds the word latest: pin a version")
    if settings.table is Table.MEMORY and settings.env is not Rung.LOCAL_PARITY:
        reasons.append("FP_IG_TABLE=memory: rows that end with their process admit twice; only local_parity measures with them")
    if settings.quarantine_file and settings.env is not Rung.LOCAL_PARITY:
        reasons.append("FP_IG_QUARANTINE_FILE is set: refusals in a file are lost with its machine; only local_parity measures with it")
    if settings.rate_profile is RateProfile.MEASURED and settings.env is not Rung.LOCAL_PARITY:
        reasons.append("FP_IG_RATE_PROFILE=measured: nothing would hold a source back; use seed or scale")
    return reasons if settings.env in (Rung.LOCAL_PARITY, Rung.DEV_MIN) else reasons + _managed_reasons(settings)


def _managed_reasons(settings: EdgeSettings) -> list[str]:
    reasons = []
    if settings.topic_prefix:
        reasons.append(f"FP_IG_TOPIC_PREFIX={settings.topic_prefix!r} is set: the catalogue's topics have no prefix")
    for name, host in _hosts(settings):
        if is_local(host):
            reasons.append(f"{name}: host {host!r} is on this machine; name the managed endpoint")
    if not settings.credentials_parameter or settings.api_key_hashes or settings.credentials:
        reasons.append("FP_IG_CREDENTIALS_PARAMETER alone says who may push: a shared key has no producer behind it (domain.md 2.14)")
    if not settings.claim_bucket:
        reasons.append("FP_IG_CLAIM_BUCKET is empty: a payload that no record can carry would have no place")
    if not settings.schema_registry:
        reasons.append("FP_IG_SCHEMA_REGISTRY is empty: the registry says which contracts are released (authority.md 5.1.1)")
    if not settings.dlq_url:
        reasons.append("FP_IG_DLQ_URL is empty: what failed past its retries has to be told (authority.md 5.1.1 item 11)")
    if not settings.dynamodb_url.startswith("https://"):
        reasons.append(f"FP_IG_DYNAMODB_ENDPOINT={settings.dynamodb_endpoint} is no https address")
    if settings.kafka_security is not KafkaSecurity.SASL_IAM:
        reasons.append(f"FP_IG_KAFKA_SECURITY={settings.kafka_security} is not SASL_IAM (authority.md 5.1.1 item 1)")
    if not settings.kafka_region:
        reasons.append("FP_IG_KAFKA_REGION is empty: IAM tokens are signed for a region")
    return reasons


def _hosts(settings: EdgeSettings) -> list[tuple[str, str]]:
    brokers = [broker.strip().rsplit(":", 1)[0].strip("[]") for broker in settings.kafka_bootstrap.split(",")]
    urls = {
        "FP_IG_DYNAMODB_ENDPOINT": settings.dynamodb_url,
        "FP_IG_SSM_ENDPOINT": settings.ssm_url,
        "FP_IG_S3_ENDPOINT": settings.s3_url,
        "FP_IG_GLUE_ENDPOINT": settings.glue_url,
        "FP_IG_DLQ_URL": settings.dlq_url,
    }
    hosts = [(name, urlsplit(url).hostname or "") for name, url in urls.items() if url]
    return [("FP_IG_KAFKA_BOOTSTRAP", broker) for broker in brokers] + hosts
