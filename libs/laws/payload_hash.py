"""The payload hash: what an event says, apart from who says it, when, and in which run.

It is computed once, at admission. Behind the edge it is recomputed from the bytes as they stand, never from a value that was
read and written again (architecture.md, "Settled questions"; domain.md 2.5).
"""

from functools import lru_cache
from hashlib import sha256
from typing import Final

from laws.canonical import JsonInput, canonical_json

PAYLOAD_HASH_RECIPE: Final = "fp.payload_hash.v1"
"""Names this recipe wherever a hash is kept. Another recipe is another name; one name never changes its meaning."""

_FRAMES: Final = 1024
"""Distinct (event_type, schema_version) pairs kept. The catalogue has some dozens; the bound keeps a producer that invents
types from filling the memory."""


def payload_hash(event_type: str, payload: bytes | None, schema_version: str | None) -> bytes:
    """The 32 bytes of SHA-256 over the canonical JSON (RFC 8785) of {event_type, payload, schema_version}.

    `payload` is the raw slice of an envelope that is canonical already; it goes into the digest as it stands. An absent
    payload or schema_version (None) is left out; a payload of null is not absent, and is b"null".
    Raises ValueError if the slice is empty, CanonicalError if event_type or schema_version is not writable.
    """
    before, after = _frame(event_type, schema_version)
    if payload is None:
        return sha256(before + after).digest()
    if not payload:
        # An unset raw field reads as b""; hashing it would give an absent payload a second identity.
        raise ValueError("an absent payload is None; an empty slice is no JSON value")
    return sha256(b"".join((before, b',"payload":', payload, after))).digest()


def payload_hash_of_value(event_type: str, payload: JsonInput, schema_version: str | None) -> bytes:
    """The payload hash of a payload that is still a value. Here None is the JSON value null.

    Raises CanonicalError if the payload has no canonical form.
    """
    return payload_hash(event_type, canonical_json(payload), schema_version)


@lru_cache(maxsize=_FRAMES)
def _frame(event_type: str, schema_version: str | None) -> tuple[bytes, bytes]:
    """What stands before and after the payload; event_type < payload < schema_version is the canonical order already."""
    before = b'{"event_type":' + canonical_json(event_type)
    after = b"}" if schema_version is None else b',"schema_version":' + canonical_json(schema_version) + b"}"
    return before, after
