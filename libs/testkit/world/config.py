"""What a world is made of: every number that shapes the stream, declared once (domain.md 13.4-13.6)."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field

from testkit.world.clock import parse_utc

_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX32 = re.compile(r"[0-9a-f]{32}")
_PLATFORM_RUN_ID = re.compile(r"platform_[0-9]{8}T[0-9]{6}Z")
_MAX_UINT64 = 2**64 - 1
_MAX_SHARE = 0.35
"""The hottest key that domain.md 13.5 asks for: 35 % of the arrivals at one merchant."""

_SHAPE_FREE_FIELDS = ("size", "mess", "sampled_one_in", "manifest_fingerprint", "parameter_hash", "producer")
"""Fields that leave the world's rows as they are, so the derived parameter_hash leaves them out."""


@dataclass(frozen=True, slots=True)
class MessRates:
    """Declared rates of what goes wrong, each per valid event unless said otherwise (domain.md 13.5).

    A rate of 0 turns the kind off. Every kind with a positive rate occurs at least twice among the first 1,500 valid events,
    so in a small world the rare kinds are over-represented by that much and no more.
    """

    edge_duplicate: float = 0.0075
    topic_duplicate: float = 0.0075
    edge_changed_payload: float = 0.002
    topic_changed_payload: float = 0.002
    out_of_order: float = 0.003
    missing_pins: float = 0.0005
    unknown_type: float = 0.0005
    bad_schema: float = 0.0005
    unknown_field: float = 0.0002
    foreign_run: float = 0.0003
    unauthorised: float = 0.0003
    bad_json: float = 0.0002
    duplicate_key: float = 0.0002
    inexact_number: float = 0.0002
    large_payload: float = 0.0001
    oversize: float = 0.0001
    late_context_per_flow: float = 0.003
    """Share of flows whose anchor comes 150..900 s after its trigger, past the allowed lateness of 2 min (domain.md 3.2)."""
    missing_context_per_flow: float = 0.001
    """Share of flows whose anchor never comes."""

    def __post_init__(self) -> None:
        for name, rate in asdict(self).items():
            if not 0 <= rate <= 0.5:
                raise ValueError(f"mess rate {name}={rate} is outside 0..0.5")


NO_MESS = MessRates(**dict.fromkeys(MessRates.__dataclass_fields__, 0.0))
"""A world in which every event is sent once, whole, and with its context."""


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """A world. The same config and the same run ids give the same bytes.

    size is exact: the stream ends with the size-th distinct valid event, an event that the edge should admit. Re-sends,
    refused bodies and topic injections come on top. A larger size is a longer span of world time at equal density, never a
    denser world.

    Raises ValueError if a number is outside its range.
    """

    seed: int
    size: int
    start_utc: str = "2026-01-05T00:00:00.000000Z"
    density: float = 0.25
    """Arrivals (= flows) per world second, averaged over a day. With 8,000 parties this is 2.7 arrivals per party and day."""
    merchants: int = 1_000
    parties: int = 8_000
    zipf_exponent: float = 1.1
    merchant_cap: float = 0.10
    """Largest share of one merchant; domain.md 13.6 asks for a cap of 6-14 %."""
    hot_merchant_share: float | None = None
    """When given, the top merchant takes this share, up to 0.35, in place of its capped one, at every hour alike."""
    fraud_share: float = 0.012
    """Share of flows that belong to a campaign (domain.md 13.6: 0.3-2.5 %)."""
    friendly_share: float = 0.0005
    """Share of flows whose own customer will dispute them without cause."""
    clearing_in_stream: float = 0.19
    """Share of the flows due to clear whose CLEARING travels in the stream; the others settle in a batch file outside it.

    With the default, AUTH_REQUESTs are 19 in 100 valid events once the world is longer than a few clearing delays.
    """
    anchor_after_trigger: float = 0.35
    """Share of flows whose anchor is sent after its AUTH_REQUEST; the others come up to the same lag before it."""
    anchor_lag_ms: int = 300
    """Largest distance in the stream between an anchor and its AUTH_REQUEST (domain.md 13.6)."""
    sampled_one_in: int = 100
    """One step in this many carries the sampled flag in its traceparent."""
    scenario_id: str = "baseline_v1"
    manifest_fingerprint: str | None = None
    """Pin, hex64. When absent it is derived from the generator's version."""
    parameter_hash: str | None = None
    """Pin, hex64. When absent it is derived from every field of this config that shapes the world's rows."""
    producer: str = "world_streamer"
    mess: MessRates = field(default_factory=MessRates)

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _MAX_UINT64:
            raise ValueError("seed is a uint64")
        if self.size < 1 or self.merchants < 20 or self.parties < 100 or self.sampled_one_in < 1:
            raise ValueError("size and sampled_one_in start at 1, merchants at 20, parties at 100")
        if self.density <= 0 or self.anchor_lag_ms < 1:
            raise ValueError("density and anchor_lag_ms are positive")
        for name in ("merchant_cap", "fraud_share", "friendly_share", "clearing_in_stream", "anchor_after_trigger"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in 0..1")
        if self.fraud_share > 0.5 or self.merchant_cap * self.merchants <= 1:
            raise ValueError("fraud_share is at most 0.5 and merchant_cap leaves room for all arrivals")
        if self.hot_merchant_share is not None and not 0 < self.hot_merchant_share <= _MAX_SHARE:
            raise ValueError(f"hot_merchant_share is in (0, {_MAX_SHARE}]")
        for pin in (self.manifest_fingerprint, self.parameter_hash):
            if pin is not None and not _HEX64.fullmatch(pin):
                raise ValueError("a pin is 64 lower-case hex digits")
        parse_utc(self.start_utc)


@dataclass(frozen=True, slots=True)
class RunIds:
    """The two run ids that a run gives to the world it plays (domain.md 2.16). Raises ValueError for a malformed id."""

    platform_run_id: str
    scenario_run_id: str

    def __post_init__(self) -> None:
        if not _PLATFORM_RUN_ID.fullmatch(self.platform_run_id) or not _HEX32.fullmatch(self.scenario_run_id):
            raise ValueError("platform_run_id is platform_YYYYMMDDThhmmssZ and scenario_run_id is hex32")


@dataclass(frozen=True, slots=True)
class WorldPins:
    """The pins that belong to the world itself, not to a run of it (domain.md 1.5)."""

    manifest_fingerprint: str
    parameter_hash: str
    seed: str
    scenario_id: str


def pins_of(config: WorldConfig) -> WorldPins:
    """The world's pins; those that the config leaves open are derived from it."""
    shape = {name: value for name, value in asdict(config).items() if name not in _SHAPE_FREE_FIELDS}
    shape_text = json.dumps(shape, sort_keys=True, separators=(",", ":"))
    return WorldPins(
        manifest_fingerprint=config.manifest_fingerprint or hashlib.sha256(b"testkit.world.v1").hexdigest(),
        parameter_hash=config.parameter_hash or hashlib.sha256(shape_text.encode()).hexdigest(),
        seed=str(config.seed),
        scenario_id=config.scenario_id,
    )
