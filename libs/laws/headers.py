"""Record and request headers: W3C trace context, run headers, provenance (authority.md 5.1.1 item 12 and 7.5, domain.md 2.10)."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from laws.trace_context import parse_traceparent

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
PLATFORM_RUN_ID = "x-fp-platform-run-id"
SCENARIO_RUN_ID = "x-fp-scenario-run-id"
PHASE_ID = "x-fp-phase-id"
EVENT_ID = "x-fp-event-id"
RUNTIME_LANE = "x-fp-runtime-lane"
POLICY_REV = "x-fp-policy-rev"
BUNDLE_ID = "x-fp-bundle-id"
CONFIG_DIGEST = "x-fp-config-digest"
RELEASE_ID = "x-fp-release-id"

REQUIRED = (
    TRACEPARENT,
    PLATFORM_RUN_ID,
    SCENARIO_RUN_ID,
    PHASE_ID,
    EVENT_ID,
    RUNTIME_LANE,
    POLICY_REV,
    BUNDLE_ID,
    CONFIG_DIGEST,
    RELEASE_ID,
)

# runtime_lane values of the platform's components (domain.md, appendix E).
RUNTIME_LANES = frozenset(
    [
        "ig",
        "sr",
        "wsp",
        "ieg",
        "ofp",
        "csfb",
        "dl",
        "df",
        "al",
        "dla",
        "archive",
        "case_trigger",
        "cm",
        "ls",
        "ofs",
        "mf",
        "mpr",
        "reporter",
        "conformance",
        "orchestrator",
        "evidence",
    ]
)


class Provenance(NamedTuple):
    """What decided: carried by every output as headers and by every row as columns (authority.md 7.5)."""

    policy_rev: str
    bundle_id: str
    config_digest: str
    release_id: str

    def headers(self) -> list[tuple[str, bytes]]:
        """The four provenance headers of a record."""
        return [
            (POLICY_REV, self.policy_rev.encode()),
            (BUNDLE_ID, self.bundle_id.encode()),
            (CONFIG_DIGEST, self.config_digest.encode()),
            (RELEASE_ID, self.release_id.encode()),
        ]


class Correlation(NamedTuple):
    """The required correlation fields of one record, and its trace state."""

    traceparent: str
    tracestate: str
    platform_run_id: str
    scenario_run_id: str
    phase_id: str
    event_id: str
    runtime_lane: str

    @property
    def trace_id(self) -> str:
        """The 32 hex characters that stay the same on every hop."""
        return self.traceparent[3:35]

    @property
    def sampled(self) -> bool:
        """Whether the caller recorded this trace."""
        return int(self.traceparent[53:55], 16) & 1 == 1

    def headers(self) -> list[tuple[str, bytes]]:
        """The correlation headers of a record."""
        pairs = [
            (TRACEPARENT, self.traceparent.encode()),
            (PLATFORM_RUN_ID, self.platform_run_id.encode()),
            (SCENARIO_RUN_ID, self.scenario_run_id.encode()),
            (PHASE_ID, self.phase_id.encode()),
            (EVENT_ID, self.event_id.encode()),
            (RUNTIME_LANE, self.runtime_lane.encode()),
        ]
        if self.tracestate:
            pairs.append((TRACESTATE, self.tracestate.encode()))
        return pairs


def missing_headers(headers: Mapping[str, bytes]) -> tuple[str, ...]:
    """Names of required headers that are absent, empty or, for traceparent, invalid. A record with any is not published."""
    missing = [name for name in REQUIRED if not headers.get(name) or not headers[name].isascii()]
    if TRACEPARENT not in missing:
        traceparent = headers[TRACEPARENT].decode()
        # Read by position from here on: a blank around it, which a request may have, is not allowed on a record.
        if parse_traceparent(traceparent) is None or traceparent != traceparent.strip():
            missing.append(TRACEPARENT)
    if RUNTIME_LANE not in missing and headers[RUNTIME_LANE].decode("latin-1") not in RUNTIME_LANES:
        missing.append(RUNTIME_LANE)
    return tuple(missing)


def read_correlation(headers: Iterable[tuple[str, bytes]]) -> tuple[Correlation | None, tuple[str, ...]]:
    """The correlation of a received record, or None with the names of what is missing."""
    found = dict(headers)
    if missing := missing_headers(found):
        return None, missing
    return (
        Correlation(
            traceparent=found[TRACEPARENT].decode(),
            tracestate=found.get(TRACESTATE, b"").decode("latin-1"),
            platform_run_id=found[PLATFORM_RUN_ID].decode(),
            scenario_run_id=found[SCENARIO_RUN_ID].decode(),
            phase_id=found[PHASE_ID].decode(),
            event_id=found[EVENT_ID].decode(),
            runtime_lane=found[RUNTIME_LANE].decode(),
        ),
        (),
    )


def read_provenance(headers: Mapping[str, bytes]) -> Provenance:
    """The provenance of a received record whose headers are complete."""
    return Provenance(*(headers[name].decode() for name in (POLICY_REV, BUNDLE_ID, CONFIG_DIGEST, RELEASE_ID)))
