"""Settings of a process and the postures of the environment ladder (architecture.md, Environment ladder; authority.md 4).

Every setting comes from the environment (FP_*). A process whose rung's posture is not met refuses to start and names every reason.
"""

import hashlib
import re
from itertools import pairwise
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from laws.canonical import canonical_json
from laws.fields import Label
from spine.rungs import KafkaSecurity, PostureError, Rung, is_local

__all__ = ["KafkaSecurity", "PostureError", "Rung", "Settings", "Timeouts", "is_local", "load_settings", "posture_reasons"]

_IMAGE_DIGEST = re.compile(r"(.+@)?sha256:[0-9a-f]{64}\Z")


class Timeouts(BaseSettings):
    """Seconds, in the order lock < statement < idle in transaction < drain < lease (runtime.md, Rules)."""

    model_config = SettingsConfigDict(env_prefix="FP_TIMEOUT_", extra="forbid")

    lock: float = 1.0
    statement: float = 2.5
    idle_in_transaction: float = 3.0
    drain: float = 4.0
    # A dead worker's lanes stand still this long; a live one must renew within it, also on a busy box.
    lease: float = 5.0

    def disorder(self) -> list[str]:
        """Names the pairs that are out of order."""
        order = ["lock", "statement", "idle_in_transaction", "drain", "lease"]
        return [
            f"FP_TIMEOUT_{low.upper()}={getattr(self, low):g} must be below FP_TIMEOUT_{high.upper()}={getattr(self, high):g}"
            for low, high in pairwise(order)
            if getattr(self, low) >= getattr(self, high)
        ]


class Settings(BaseSettings):
    """What one service process is told. Secrets are SecretStr and are in no digest, log or message."""

    model_config = SettingsConfigDict(env_prefix="FP_", extra="ignore", frozen=True)

    env: Rung
    release_id: Annotated[str, Field(min_length=1, max_length=128)]
    image: str = ""
    kafka_bootstrap: str
    kafka_security: KafkaSecurity
    kafka_region: str = ""
    # Lets tests share a broker; the platform's own topics have no prefix.
    topic_prefix: str = ""
    database_url: SecretStr
    http_host: str = "127.0.0.1"
    http_port: int = Field(ge=0, le=65535)
    token_secret: SecretStr
    phase_id: Label = "P6"
    otlp_file: str = ""
    faults: str = ""
    # What a transaction costs by itself is shared by its records; with more of them than this little is gained, and a lane's lock is held
    # longer (docs/performance.md). The target is a third of the lock timeout: a command that
    # waits for its lane waits less than it may. Much less, and a busy machine makes batches small, which makes it busier.
    batch_max: int = Field(default=2000, ge=1, le=10000)
    batch_target_ms: float = 300.0
    # One computes while another waits for the store. With a third each held its locks longer where cores are short, which made batches
    # smaller and dearer; a store that is further away than a millisecond wants more.
    transaction_concurrency: int = Field(default=2, ge=1, le=64)
    pool_size: int = Field(default=8, ge=2, le=64)
    task_concurrency: int = Field(default=64, ge=1, le=1024)
    breaker_consecutive: int = Field(default=25, ge=1)
    breaker_ratio: float = Field(default=0.5, gt=0, le=1)
    breaker_window: int = Field(default=200, ge=10)
    # Endpoints of other writer boundaries, by name; a service takes what it needs.
    provider_url: str = ""
    label_store_url: str = ""
    timeouts: Timeouts = Field(default_factory=Timeouts)

    def config_digest(self) -> str:
        """Digest (hex64) of everything that may change behaviour; addresses, ports and secrets are not behaviour."""
        places = {"database_url", "token_secret", "http_host", "http_port", "kafka_bootstrap", "otlp_file", "image", "release_id"}
        shown = self.model_dump(mode="json", exclude=places | {"provider_url", "label_store_url", "faults"})
        return hashlib.sha256(canonical_json(shown)).hexdigest()


def load_settings() -> Settings:
    """Settings from the environment, checked. Raises pydantic.ValidationError or PostureError."""
    settings = Settings()
    if reasons := posture_reasons(settings):
        raise PostureError(settings.env.value, reasons)
    return settings


def posture_reasons(settings: Settings) -> list[str]:
    """Everything that forbids this process to run on its rung; empty when nothing does."""
    reasons = settings.timeouts.disorder()
    reasons += [
        f"{name} holds the word latest: pin a version"
        for name, value in (("FP_RELEASE_ID", settings.release_id), ("FP_IMAGE", settings.image))
        if re.search(r"(^|[:@/.-])latest$", value)
    ]
    if settings.env is Rung.LOCAL_PARITY:
        return reasons
    if settings.faults:
        reasons.append("FP_FAULTS is set: faults are injected on local_parity only")
    if settings.topic_prefix:
        reasons.append(f"FP_TOPIC_PREFIX={settings.topic_prefix!r} is set: the catalogue's topics have no prefix")
    if settings.env is Rung.DEV_MIN:
        return reasons
    for name, url in _endpoints(settings):
        reasons += [f"{name}: host {host} is on this machine; name the managed endpoint" for host in _hosts(url) if is_local(host)]
    if settings.kafka_security is not KafkaSecurity.SASL_IAM:
        reasons.append(f"FP_KAFKA_SECURITY={settings.kafka_security} is not SASL_IAM (authority.md 5.1.1 item 1)")
    if not settings.token_secret.get_secret_value():
        reasons.append("FP_TOKEN_SECRET is empty: anybody could sign a token")
    if not settings.kafka_region:
        reasons.append("FP_KAFKA_REGION is empty: IAM tokens are signed for a region")
    if not _IMAGE_DIGEST.match(settings.image):
        reasons.append(f"FP_IMAGE={settings.image!r} is no image by digest (name@sha256:..)")
    if _query_option(settings.database_url.get_secret_value(), "sslmode") not in ("verify-full", "verify-ca"):
        reasons.append("FP_DATABASE_URL has no sslmode=verify-full: the store would be spoken to in plain text")
    for name, url in _endpoints(settings):
        if url.lower().startswith("http://"):
            reasons.append(f"{name} is plain http: use https")
    return reasons


def _endpoints(settings: Settings) -> list[tuple[str, str]]:
    named = [
        ("FP_KAFKA_BOOTSTRAP", settings.kafka_bootstrap),
        ("FP_DATABASE_URL", settings.database_url.get_secret_value()),
        ("FP_PROVIDER_URL", settings.provider_url),
        ("FP_LABEL_STORE_URL", settings.label_store_url),
    ]
    return [(name, url) for name, url in named if url]


def _hosts(endpoint: str) -> list[str]:
    if "://" in endpoint:
        return [urlsplit(endpoint).hostname or ""]
    return [part.rsplit(":", 1)[0].strip("[] ") for part in endpoint.split(",")]


def _query_option(url: str, name: str) -> str:
    for pair in urlsplit(url).query.split("&"):
        key, _, value = pair.partition("=")
        if key == name:
            return value
    return ""
