"""Who may push (domain.md 2.14): a key in X-IG-Api-Key, known to the edge by its SHA-256."""

import hashlib
import hmac
from collections.abc import Sequence

HEADER = "x-ig-api-key"

# As many characters as tell two keys apart in a log; too few to look a key up.
_PRINCIPAL_CHARS = 8


class KeyRing:
    """The live keys: one, or two while a key is rotated."""

    def __init__(self, hashes: Sequence[str]) -> None:
        self._hashes = [digest.encode() for digest in hashes]

    def principal(self, key: str | None) -> str | None:
        """Who the holder of `key` is (SYSTEM::key-<start of its digest>), or None if the key is not live.

        All digests are compared, each in constant time: the time of an answer tells nothing about a key.
        """
        shown = hashlib.sha256((key or "").encode("utf-8", "surrogateescape")).hexdigest()
        matches = [hmac.compare_digest(shown.encode(), known) for known in self._hashes]
        return f"SYSTEM::key-{shown[:_PRINCIPAL_CHARS]}" if key and any(matches) else None
