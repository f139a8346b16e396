"""The dedupe identity (platform_run_id, event_class, event_id) and its compact stored form (authority.md 7.1, domain.md 2.6)."""

import re
from typing import NamedTuple
from uuid import UUID

from laws.event_classes import EventClass
from laws.ids import recipe_digest

_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_HEX32 = re.compile(r"[0-9a-f]{32}\Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")

# The first byte tells the spelling, so that no two different texts share one stored key.
_TEXT, _DIGEST64, _DIGEST32, _DASHED_UUID = b"\x00", b"\x01", b"\x02", b"\x03"


class Identity(NamedTuple):
    """What makes two deliveries the same event."""

    platform_run_id: str
    event_class: EventClass
    event_id: str


def dedupe_key(identity: Identity) -> str:
    """The hex64 key of an identity in stores that want one string (the edge's table)."""
    # Plain texts: a class that is an enumeration would be written the long way round, to the same bytes.
    return recipe_digest("fp.dedupe_key.v1", [identity.platform_run_id, str(identity.event_class), identity.event_id]).hex()


def pack_event_id(event_id: str) -> bytes:
    """Bytes for an event id: 17 or 33 where it is a digest, so that an inbox index stays small; reversible for every text."""
    if _HEX64.match(event_id):
        return _DIGEST64 + bytes.fromhex(event_id)
    if _HEX32.match(event_id):
        return _DIGEST32 + bytes.fromhex(event_id)
    if _UUID.match(event_id):
        return _DASHED_UUID + UUID(event_id).bytes
    return _TEXT + event_id.encode()


def unpack_event_id(packed: bytes) -> str:
    """The text that `pack_event_id` took. Raises ValueError for a tag that no version of it wrote."""
    tag, body = packed[:1], packed[1:]
    if tag in (_DIGEST64, _DIGEST32):
        return body.hex()
    if tag == _DASHED_UUID:
        return str(UUID(bytes=body))
    if tag == _TEXT:
        return body.decode()
    raise ValueError(f"event id tag={tag.hex()} is unknown: the row was not written by pack_event_id")
