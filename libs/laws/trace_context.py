"""W3C Trace Context: reading, continuing and writing traceparent and tracestate.

After the Level 1 recommendation; of Level 2 only the random-trace-id flag. Whatever is invalid restarts the trace, it never
fails the event. Ids that we make are derived, not drawn, so that a replay has the same trace.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from laws.canonical import canonical_plain

SAMPLED: Final = 0x01  # Level 1 section 3.2.2.5.1
RANDOM_TRACE_ID: Final = 0x02  # Level 2, "Random Trace ID Flag": handed on unchanged as long as the trace id is
_KNOWN_FLAGS: Final = SAMPLED | RANDOM_TRACE_ID

TRACE_ID_RECIPE: Final = "fp.trace_id.v1"
SPAN_ID_RECIPE: Final = "fp.span_id.v1"

MAX_MEMBERS: Final = 32  # Level 1 section 3.3.1.1
MAX_CHARS: Final = 512  # what a participant propagates at least, hence what the next may count on (section 3.3.1.5)
LONG_MEMBER: Final = 128  # members longer than this go first when there is too much (section 3.3.1.5)

_TRACE_ID: Final = r"(?!0{32})[0-9a-f]{32}"
_SPAN_ID: Final = r"(?!0{16})[0-9a-f]{16}"
_IS_TRACE_ID: Final = re.compile(_TRACE_ID).fullmatch
_IS_SPAN_ID: Final = re.compile(_SPAN_ID).fullmatch
_READ_TRACEPARENT: Final = re.compile(rf"(?!ff)([0-9a-f]{{2}})-({_TRACE_ID})-({_SPAN_ID})-([0-9a-f]{{2}})(-.*)?", re.DOTALL).fullmatch
_READ_VERSION_00: Final = re.compile(rf"00-({_TRACE_ID})-{_SPAN_ID}-([0-9a-f]{{2}})").fullmatch

_KEY: Final = r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
# Printable ASCII but comma and equals sign, not ending in a blank.
_VALUE: Final = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_READ_MEMBER: Final = re.compile(rf"({_KEY})=({_VALUE})").fullmatch

_OWS: Final = " \t"  # RFC 9110 section 5.6.3; str.strip() alone would take other white space as well


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A place in a trace. `flags` are the eight bits as received; only those we know are written on.

    Raises ValueError for ids that are not lower-case hex of the right length or are all zero, or flags beyond a byte.
    """

    trace_id: str
    span_id: str
    flags: int

    def __post_init__(self) -> None:
        if not _IS_TRACE_ID(self.trace_id):
            raise ValueError(f"not a W3C trace id: {self.trace_id!r}")
        if not _IS_SPAN_ID(self.span_id):
            raise ValueError(f"not a W3C span id: {self.span_id!r}")
        if not 0 <= self.flags <= 0xFF:
            raise ValueError(f"not a byte of trace flags: {self.flags}")

    @property
    def sampled(self) -> bool:
        """Whether the caller may have recorded the trace (Level 1 section 3.2.2.5.1)."""
        return bool(self.flags & SAMPLED)

    def header(self) -> str:
        """The value in version 00, the highest we know; flags we do not know are zero (sections 3.2.2.5.2 and 3.2.4)."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags & _KNOWN_FLAGS:02x}"


@dataclass(frozen=True, slots=True)
class TraceState:
    """The members of a tracestate, newest first. Empty if there was none or it was invalid."""

    members: tuple[tuple[str, str], ...] = ()

    def header(self) -> str:
        """The tracestate value, of at most 512 characters; "" means that the header is left out.

        Whole members go, never parts: those of more than 128 characters first, from the end, then any from the end
        (Level 1 section 3.3.1.5).
        """
        kept = [f"{key}={value}" for key, value in self.members]
        excess = sum(map(len, kept)) + len(kept) - 1 - MAX_CHARS
        for shortest in (LONG_MEMBER + 1, 1):
            for index in range(len(kept) - 1, -1, -1):
                if excess > 0 and len(kept[index]) >= shortest:
                    excess -= len(kept.pop(index)) + 1
        return ",".join(kept)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """What travels: the place in the trace, and what the tracing systems before us left in it."""

    traceparent: TraceParent
    tracestate: TraceState


def parse_traceparent(header: str | None) -> TraceParent | None:
    """Read a traceparent value (Level 1 sections 3.2.2 and 3.2.4). None, and the caller restarts the trace, if absent or invalid.

    Several headers that were joined by commas are invalid too. Of a version above 00 only the sampled flag is taken.
    """
    match = _READ_TRACEPARENT(header.strip(_OWS)) if header is not None else None
    if match is None:
        return None
    version, trace_id, span_id, flag_digits, more = match.groups()
    flags = int(flag_digits, 16)
    if version != "00":
        return TraceParent(trace_id, span_id, flags & SAMPLED)
    return None if more else TraceParent(trace_id, span_id, flags)  # version 00 ends after the flags


def parse_tracestate(headers: str | Sequence[str]) -> TraceState:
    """Read a tracestate, of one header or of several in their order (Level 1 section 3.3.1; RFC 9110 section 5.3).

    An invalid member, a repeated key or more than 32 members discard the whole of it. Members that are empty are
    skipped and not counted: intermediaries make them by joining empty headers.
    """
    combined = headers if isinstance(headers, str) else ",".join(headers)
    members: dict[str, str] = {}
    for part in combined.split(","):
        member = part.strip(_OWS)
        if not member:
            continue
        match = _READ_MEMBER(member)
        if match is None or match[1] in members or len(members) == MAX_MEMBERS:
            return TraceState()
        members[match[1]] = match[2]
    return TraceState(tuple(members.items()))


def start(trace_id: str, span_id: str, sampled: bool) -> TraceParent:
    """The root of a new trace. The random flag stays off: our ids are derived. Raises ValueError for invalid ids."""
    return TraceParent(trace_id, span_id, SAMPLED if sampled else 0)


def child(parent: TraceParent, span_id: str) -> TraceParent:
    """The next place in the same trace, flags unchanged. Raises ValueError for an invalid span id."""
    return TraceParent(parent.trace_id, span_id, parent.flags)


def child_header(traceparent: str, *parts: str) -> str | None:
    """The header of the next place below one in version 00, its span derived from `parts`; None for what only parse_traceparent can tell.

    It is read and written once, where a place that is a value of its own is checked each time that one is made.
    """
    match = _READ_VERSION_00(traceparent)
    if match is None:
        return None
    trace_id, flags = match.groups()
    return f"00-{trace_id}-{derive_span_id(trace_id, *parts)}-{int(flags, 16) & _KNOWN_FLAGS:02x}"


def continue_or_start(
    traceparent: str | None,
    tracestate: str | Sequence[str] | None,
    new_trace_id: Callable[[], str],
    sampled: bool,
) -> TraceContext:
    """The context that arrived, or the root of a new one if none did or its traceparent is invalid.

    A tracestate counts only next to a valid traceparent; an invalid tracestate leaves the traceparent standing (Level 1
    section 3.3). `new_trace_id` is asked and `sampled` used only when a trace starts; its root span is derived from its id.
    """
    parent = parse_traceparent(traceparent)
    if parent is None:
        trace_id = new_trace_id()
        return TraceContext(start(trace_id, derive_span_id(trace_id, "root"), sampled), TraceState())
    return TraceContext(parent, parse_tracestate(tracestate or ""))


def derive_trace_id(*parts: str) -> str:
    """A trace id that the same parts always give: 16 bytes of SHA-256 over the canonical JSON of [TRACE_ID_RECIPE, *parts]."""
    return _not_zero(sha256(canonical_plain((TRACE_ID_RECIPE, *parts))).digest()[:16])


def derive_span_id(trace_id: str, *parts: str) -> str:
    """A span id that the same trace and parts always give: 8 bytes of SHA-256 over the canonical JSON of
    [SPAN_ID_RECIPE, trace_id, *parts]."""
    return _not_zero(sha256(canonical_plain((SPAN_ID_RECIPE, trace_id, *parts))).digest()[:8])


def _not_zero(digest: bytes) -> str:
    """The digest in hex; one that is all zero, which W3C forbids, becomes 1."""
    return (digest if any(digest) else digest[:-1] + b"\x01").hex()
