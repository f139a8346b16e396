"""Record and request headers: W3C trace context, run headers, provenance (authority.md 5.1.1 item 12 and 7.5, domain.md 2.10)."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

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


_ODD: Final = frozenset("13579bdf")


def is_sampled(traceparent: str) -> bool:
    """Whether the flags of a lawful traceparent, whose last hex digit this is, say that the caller recorded the trace."""
    return traceparent[54] in _ODD


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
        return is_sampled(self.traceparent)

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


# What the records of a run and writer share: judged once for each combination. Bounded, for whoever sends others.
_COMBINATIONS: Final = 1024
_SHARED: Final = (PLATFORM_RUN_ID, SCENARIO_RUN_ID, PHASE_ID, RUNTIME_LANE, POLICY_REV, BUNDLE_ID, CONFIG_DIGEST, RELEASE_ID)
_shared: Final = itemgetter(*_SHARED)
_is_version_00: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch


@lru_cache(maxsize=_COMBINATIONS)
def _lawful(values: tuple[bytes, ...]) -> tuple[str, str, str, str] | None:
    """Run, scenario run, phase and lane of shared headers that are lawful, or None."""
    complete = dict(zip(_SHARED, values, strict=True)) | {TRACEPARENT: b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-00", EVENT_ID: b"e"}
    if missing_headers(complete):
        return None
    run, scenario, phase, lane = (value.decode() for value in values[:4])
    return run, scenario, phase, lane


def read_correlation(headers: Iterable[tuple[str, bytes]]) -> tuple[Correlation | None, tuple[str, ...]]:
    """The correlation of a received record, or None with the names of what is missing."""
    found = dict(headers)
    try:
        lawful = _lawful(_shared(found))
        traceparent, event_id = found[TRACEPARENT], found[EVENT_ID]
    except (KeyError, TypeError):
        lawful = None
    if lawful is None or not traceparent or not _is_version_00(traceparent) or not event_id or not event_id.isascii():
        return _read_slowly(found)
    run, scenario, phase, lane = lawful
    tracestate = found.get(TRACESTATE)
    return (
        Correlation(
            traceparent.decode(), tracestate.decode("latin-1") if tracestate else "", run, scenario, phase, event_id.decode(), lane
        ),
        (),
    )


def _read_slowly(found: Mapping[str, bytes]) -> tuple[Correlation | None, tuple[str, ...]]:
    """Names what is missing; takes what only the general check takes, such as a traceparent of a later version."""
    if missing := missing_headers(found):
        return None, missing
    return (
        Correlation(
            traceparent=found[TRACEPARENT].decode(),
            tracestate=(found.get(TRACESTATE) or b"").decode("latin-1"),
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
