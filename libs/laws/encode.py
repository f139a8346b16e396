"""Canonical bytes of contract structs (architecture.md, payload_hash)."""

import msgspec

from laws.canonical import canonical_json

_SORTED = msgspec.json.Encoder(order="sorted")


def canonical_struct(body: msgspec.Struct | tuple[msgspec.Struct, ...]) -> bytes:
    """RFC 8785 bytes of a contract's struct, or of several in a list.

    Contracts hold no floats (a test walks the catalogue), so sorted encoding is canonical wherever all of it is ASCII; anything else
    takes the general way, because keys beyond the BMP sort differently there.
    """
    encoded = _SORTED.encode(body)
    return encoded if encoded.isascii() else canonical_json(msgspec.to_builtins(body))
