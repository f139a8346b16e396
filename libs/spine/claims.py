"""Records whose payload went by reference (laws.claims): read back and verified before they are judged, or parked with an anomaly.

A record that carries a claim fails its contract, so that only what is poison already is looked at here, and records that carry their
payload cost nothing. With its payload in its place it is judged like every other: an event has one identity and one hash.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from laws.claims import CLAIM, ClaimError, payload_of
from laws.contracts.audit import SubjectKey
from laws.envelope import Envelope, decode_envelope
from laws.headers import read_correlation
from laws.reasons import Reason
from spine.inputs import Decoder, Input, Poison, Source, cause_of
from spine.service import Anomaly

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_SORTED = msgspec.json.Encoder(order="sorted").encode


def claimed_of(inputs: Sequence[Input]) -> list[int]:
    """Which of the inputs are records that carry a claim."""
    return [
        index
        for index, item in enumerate(inputs)
        if item.poison is not None and item.poison.reason is Reason.CONTRACT_INVALID and item.source is not None and _is_claim(item.source)
    ]


async def with_payloads(inputs: list[Input], claimed: Sequence[int], decoder: Decoder) -> None:
    """Puts in the place of each claimed input the one with its payload. One whose object is not what its claim says stays poison.

    Waits for as long as the objects can't be asked for: that is nothing against a record.
    """
    for index in claimed:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                inputs[index] = await _read(inputs[index], decoder)
                break
            except OSError as error:
                _log.warning("lane.waits", what="read a claimed payload", ref=inputs[index].ref, error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE_S, pause * 2)


def _is_claim(source: Source) -> bool:
    return any(name == CLAIM for name, _ in source.headers)


async def _read(item: Input, decoder: Decoder) -> Input:
    source = item.source
    assert source is not None  # claimed_of says so
    if decoder.claims is None:
        item.poison = Poison(Reason.CONTRACT_INVALID, "the payload went by reference, and its lane group declares no way to read it")
        return item
    envelope = decode_envelope(source.value)
    try:
        payload = await payload_of(envelope, dict(source.headers), decoder.claims)
    except msgspec.MsgspecError as error:
        item.poison = Poison(Reason.CONTRACT_INVALID, f"claim: {error}")
        return item
    except ClaimError as error:
        return _refused(item, source, envelope, decoder, error)
    headers = tuple(header for header in source.headers if header[0] != CLAIM)
    whole = msgspec.structs.replace(source, value=_SORTED(msgspec.structs.replace(envelope, payload=msgspec.Raw(payload))), headers=headers)
    return decoder.record(whole)


def _refused(item: Input, source: Source, envelope: Envelope, decoder: Decoder, error: ClaimError) -> Input:
    """The input, parked for what is wrong with its object; where that is another payload, both hashes are an anomaly."""
    if not error.found:
        item.poison = Poison(Reason.DEPENDENCY_UNAVAILABLE, f"claim {error}")
        return item
    correlation, _ = read_correlation(source.headers)
    event_type = decoder.event_type(envelope.event_type)
    assert correlation is not None  # a record without them is poison for that
    assert event_type is not None
    subject = SubjectKey(correlation.platform_run_id, event_type.event_class.value, envelope.event_id)
    details = {"claim_ref": error.claim_ref, "claim": error.reason}
    anomaly = Anomaly(Reason.PAYLOAD_HASH_MISMATCH, subject, error.claimed, error.found, details)
    item.poison = Poison(Reason.PAYLOAD_HASH_MISMATCH, f"claim {error}", anomaly)
    item.cause = cause_of(correlation, envelope)
    return item
