"""Payloads that are too large for a record go to S3, and the record carries a claim (laws.claims)."""

import hashlib

import msgspec

from ingress.inspection import Candidate
from ingress.objects import Objects
from ingress.record import Record
from laws.claims import CLAIM, claim_of
from laws.encode import canonical_struct
from laws.envelope import decode_envelope

_SORTED = msgspec.json.Encoder(order="sorted").encode


class Claims:
    """Checks payloads in. An object is named by its content and written once, so that a retry finds what it wrote."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def check(self, candidate: Candidate, record: Record) -> Record:
        """The record that carries the claim, once the object is durable. Raises ServiceError."""
        run, event_class, _ = candidate.identity
        key = f"claims/{run}/{event_class}/{hashlib.sha256(candidate.payload).hexdigest()}.json"
        await self._objects.put_once(key, candidate.payload)
        claim = claim_of(self._objects.uri(key), candidate.payload, candidate.payload_hash)
        envelope = msgspec.structs.replace(decode_envelope(record.value), payload=msgspec.Raw(canonical_struct(claim)))
        return record._replace(value=_SORTED(envelope), headers=[*record.headers, (CLAIM, claim.claim_ref.encode())])
