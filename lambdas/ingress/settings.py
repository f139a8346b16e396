"""What one edge process is told, all of it by the environment (FP_ENV, FP_IG_*), and the posture of its rung (architecture.md)."""

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from laws.canonical import canonical_json
from spine.settings import KafkaSecurity, PostureError, Rung, is_local

POLICY_REV = "ig.schema_policy.v1"

# Room between the end of a publish and the end of its row's lease: bytes that already left may still be appended in it.
LEASE_MARGIN_S = 1.0

_KEY_HASH = re.compile(r"[0-9a-f]{64}\Z")
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


class EdgeSettings(BaseSettings):
    """Settings of the edge. API keys are known by their SHA-256 only; AWS credentials come from the standard chain."""

    # hide_input: somebody who puts a key where its digest belongs must not find it in the log.
    model_config = SettingsConfigDict(env_prefix="FP_IG_", extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True)

    env: Rung = Field(validation_alias="FP_ENV")
    # Both go into every row; the bound keeps a row with the longest event id within 1 KiB (domain.md 2.9).
    release_id: Annotated[str, Field(min_length=1, max_length=64)]
    active_run: Annotated[str, Field(pattern="^platform_[0-9]{8}T[0-9]{6}Z$")]
    phase_id: Annotated[str, Field(min_length=1, max_length=128)] = "P6"
    # Who may push: a parameter of SSM, or for the local rungs the same document as it stands, or keys alone (ingress.producers).
    credentials_parameter: str = ""
    credentials: SecretStr | None = None
    api_key_hashes: Annotated[tuple[str, ...], NoDecode] = ()

    kafka_bootstrap: str
    kafka_security: KafkaSecurity
    kafka_region: str = ""
    # Lets tests share a broker; the platform's own topics have no prefix.
    topic_prefix: str = ""

    region: Annotated[str, Field(min_length=1)]
    dynamodb_endpoint: str = ""
    ssm_endpoint: str = ""
    s3_endpoint: str = ""
    table: Table = Table.DYNAMODB
    idempotency_table: str = "ig-idempotency"
    quarantine_table: str = "ig-quarantine"
    # The dead-letter queue (authority.md 5.1.1 item 11, IG_DLQ_MODE); without one the reconciler's sweep alone finds what is left behind.
    dlq_url: str = ""
    # Payloads above so many bytes go by reference (a claim check): Kafka brokers take a record of 1 MiB, and a lane's batch holds hundreds.
    claim_bucket: str = ""
    claim_bytes: int = Field(default=262_144, ge=1)

    rate_profile: RateProfile = RateProfile.SEED
    # authority.md 5.1.1 item 11: IG_MAX_REQUEST_BYTES, IG_REQUEST_TIMEOUT_SECONDS, IG_IDEMPOTENCY_TTL_SECONDS.
    max_body_bytes: int = Field(default=1_048_576, ge=1)
    request_timeout_s: float = Field(default=30.0, gt=0)
    idempotency_ttl_s: int = Field(default=259_200, ge=1)
    # 1 MiB holds about 1500 events of the engine; a body of a million tiny refusals would cost a million rows.
    max_items: int = Field(default=2000, ge=1)
    # Items in work at once, hence also connections to the store: above it only the queue in front of the store grows.
    concurrency: int = Field(default=32, ge=1, le=1024)
    publish_timeout_s: float = Field(default=5.0, gt=0)
    lease_s: float = Field(default=10.0, gt=0)
    probe_s: float = Field(default=30.0, gt=0)
    # Share of the traces that start here which are recorded; a trace that arrives keeps its sender's choice.
    trace_sample_ratio: float = Field(default=0.0, ge=0, le=1)

    @field_validator("api_key_hashes", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("api_key_hashes")
    @classmethod
    def _digests(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Two at once, so that a key can be rotated without a moment in which no key is good.
        if len(value) > 2:
            raise ValueError(f"{len(value)} key hashes: give one, or two while a key is rotated")
        if not all(_KEY_HASH.match(digest) for digest in value):
            raise ValueError("a key hash is not 64 lower-case hex characters: give the SHA-256 of the key, never the key")
        return value

    @model_validator(mode="after")
    def _lease_outlives_publish(self) -> Self:
        if self.lease_s < self.publish_timeout_s + LEASE_MARGIN_S:
            raise ValueError(
                f"FP_IG_LEASE_S={self.lease_s:g} must be at least FP_IG_PUBLISH_TIMEOUT_S={self.publish_timeout_s:g} + "
                f"{LEASE_MARGIN_S:g}: else a row is taken over while its first publish may still land"
            )
        return self

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

    def config_digest(self) -> str:
        """Digest (hex64) of everything that may change behaviour; addresses and keys are not behaviour."""
        secrets = {"api_key_hashes", "credentials", "credentials_parameter"}
        places = secrets | {"kafka_bootstrap", "dynamodb_endpoint", "ssm_endpoint", "s3_endpoint", "dlq_url", "claim_bucket", "release_id"}
        shown = {name: str(value) for name, value in self.model_dump(mode="json", exclude=places).items()}
        return hashlib.sha256(canonical_json(shown)).hexdigest()


def load_settings() -> EdgeSettings:
    """Settings from the environment, checked. Raises pydantic.ValidationError or spine.settings.PostureError."""
    settings = EdgeSettings()
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
    if not settings.credentials_parameter or settings.api_key_hashes or settings.credentials is not None:
        reasons.append("FP_IG_CREDENTIALS_PARAMETER alone says who may push: a shared key has no producer behind it (domain.md 2.14)")
    if not settings.claim_bucket:
        reasons.append("FP_IG_CLAIM_BUCKET is empty: a payload that no record can carry would have no place")
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
        "FP_IG_DLQ_URL": settings.dlq_url,
    }
    hosts = [(name, urlsplit(url).hostname or "") for name, url in urls.items() if url]
    return [("FP_IG_KAFKA_BOOTSTRAP", broker) for broker in brokers] + hosts
