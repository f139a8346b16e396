"""Claim checks: a payload too large for a record stands in an object store, and the record carries what proves it. Pure.

The record's payload is the claim, a header says so, and the payload hash in the claim is that of the event itself: an event has one
identity and one hash, however its payload travels.
"""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from laws.envelope import Envelope
from laws.fields import Hex64
from laws.payload_hash import payload_hash

CLAIM: Final = "x-fp-claim"
"""The header of a record whose payload is a claim; its value is the place of the object."""

Fetch = Callable[[str], Awaitable[bytes | None]]
"""The object at a place, None where there is none."""


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in the place of a payload."""

    claim_ref: Annotated[str, Meta(min_length=1, max_length=1024)]
    sha256: Hex64
    """Of the object's bytes, which are the canonical payload."""
    size: Annotated[int, Meta(ge=1)]
    payload_hash: Hex64


class ClaimError(Exception):
    """The object is not there, or is not what the claim says. `claim_ref` is its place, `reason` a word for what is wrong.

    Where an object was found, `claimed` and `found` are the two payload hashes: what the claim says, and what the object has.
    """

    def __init__(self, claim_ref: str, reason: str, claimed: bytes = b"", found: bytes = b"") -> None:
        super().__init__(f"{claim_ref}: {reason}")
        self.claim_ref = claim_ref
        self.reason = reason
        self.claimed = claimed
        self.found = found


def claim_of(claim_ref: str, payload: bytes, digest: bytes) -> Claim:
    """The claim for a canonical payload whose payload hash is `digest`."""
    return Claim(claim_ref, sha256(payload).hexdigest(), len(payload), digest.hex())


def read_claim(envelope: Envelope) -> Claim:
    """The claim that an envelope carries. Raises msgspec.DecodeError where its payload is none."""
    return msgspec.json.decode(envelope.payload, type=Claim)


async def payload_of(envelope: Envelope, headers: Mapping[str, bytes], fetch: Fetch) -> bytes:
    """The canonical payload of a record, fetched and verified where it went by reference: the one way to read it.

    Raises ClaimError where the object is missing, of another size or digest, or of another payload hash than the claim says.
    """
    if CLAIM not in headers:
        return bytes(envelope.payload)
    claim = read_claim(envelope)
    if headers[CLAIM] != claim.claim_ref.encode():
        raise ClaimError(claim.claim_ref, "header and claim name two places")
    payload = await fetch(claim.claim_ref)
    if payload is None:
        raise ClaimError(claim.claim_ref, "missing")
    found, claimed = payload_hash(envelope.event_type, payload, envelope.schema_version), bytes.fromhex(claim.payload_hash)
    if len(payload) != claim.size or sha256(payload).hexdigest() != claim.sha256:
        raise ClaimError(claim.claim_ref, "other bytes", claimed, found)
    if found != claimed:
        raise ClaimError(claim.claim_ref, "other payload hash", claimed, found)
    return payload
