"""Identities of runs whose inbox partition was dropped: what an auditor can still say of them, from the log alone."""

from __future__ import annotations

import hashlib

from laws.verdicts import Verdict

Key = tuple[int, int, bytes]
"""Run number, class number, packed event id."""

_DIGEST = 16


class Forgotten:
    """Remembers, as the inbox did, which identities of dropped runs a lane has seen; 32 bytes each beside the container's own.

    All copies of an identity are on one lane, so that a lane's records in their order say which came first; where an audit begins in the
    middle of a lane they do not, and any of the three verdicts may be right.
    """

    def __init__(self, runs: frozenset[int], *, whole: bool) -> None:
        self._runs = runs
        self._whole = whole
        self._seen: dict[bytes, bytes] = {}

    def covers(self, key: Key) -> bool:
        """Whether the identity is of a dropped run."""
        return key[0] in self._runs

    def due(self, key: Key, payload_hash: bytes) -> set[Verdict]:
        """The verdicts that the log allows for an input that was not parked."""
        if not self._whole:
            return {Verdict.NEW, Verdict.DUPLICATE, Verdict.MISMATCH}
        first = self._seen.get(_digest(key))
        if first is None:
            return {Verdict.NEW}
        return {Verdict.DUPLICATE} if first == payload_hash[:_DIGEST] else {Verdict.MISMATCH}

    def remember(self, key: Key, payload_hash: bytes) -> None:
        """The identity has been seen; the first payload hash stays."""
        self._seen.setdefault(_digest(key), payload_hash[:_DIGEST])


def _digest(key: Key) -> bytes:
    return hashlib.blake2b(b"%d/%d/%s" % key, digest_size=_DIGEST).digest()
