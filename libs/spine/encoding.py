"""JSON bodies of replies."""

import msgspec

_ENCODER = msgspec.json.Encoder(order="deterministic")


def encode_reply(body: msgspec.Struct) -> bytes:
    """The stored body of a command's reply."""
    return _ENCODER.encode(body)
