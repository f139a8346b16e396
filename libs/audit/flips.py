"""Which decisions another pack would have made otherwise."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from audit.chain import Cert
from audit.findings import KEPT
from audit.shadow import Shadow
from laws.catalogue import DECISION_RESPONSE
from laws.contracts.decision import DecisionResponse
from laws.envelope import decode_envelope
from spine.db import Db
from spine.tables import quote

_decode = msgspec.json.Decoder(DecisionResponse).decode


class Flip(msgspec.Struct, frozen=True):
    """One decision that would have been another."""

    source_event_id: str
    place: str
    was: str
    now: str
    rules_gone: tuple[str, ...]
    rules_new: tuple[str, ...]


@dataclass
class Flips:
    """The decisions of a range under another pack."""

    decisions: int = 0
    flipped: int = 0
    only_recorded: int = 0
    only_replayed: int = 0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(was, now) of the flipped ones."""
    rules_gone: Counter[str] = field(default_factory=Counter)
    """Flipped decisions that a rule had hit and does not hit now."""
    rules_new: Counter[str] = field(default_factory=Counter)
    """Flipped decisions that a rule hits now and had not hit."""
    first: list[Flip] = field(default_factory=list)


async def count_flips(flips: Flips, store: Db, shadow: Shadow, cert: Cert) -> None:
    """Compare the decisions of one transaction with those of its replay, by the event that each is about."""
    was = await _decisions(store, f"{quote(shadow.original)}.outbox", cert)
    now = await _decisions(store, "outbox", cert)
    flips.only_recorded += len(was.keys() - now.keys())
    flips.only_replayed += len(now.keys() - was.keys())
    for event_id in sorted(was.keys() & now.keys()):
        old, new = was[event_id], now[event_id]
        flips.decisions += 1
        if old.decision.action_kind is new.decision.action_kind:
            continue
        flips.flipped += 1
        old_rules = {hit.rule_id for hit in old.decision.rule_hits}
        new_rules = {hit.rule_id for hit in new.decision.rule_hits}
        kinds = (old.decision.action_kind.value, new.decision.action_kind.value)
        flips.kinds[kinds] += 1
        flips.rules_gone.update(old_rules - new_rules)
        flips.rules_new.update(new_rules - old_rules)
        if len(flips.first) < KEPT:
            origin = old.source_event.origin_offset
            place = f"{origin.topic}/{origin.partition}/{origin.offset}"
            flips.first.append(Flip(event_id, place, *kinds, tuple(sorted(old_rules - new_rules)), tuple(sorted(new_rules - old_rules))))


async def _decisions(store: Db, outbox: str, cert: Cert) -> dict[str, DecisionResponse]:
    found = {}
    for row in await store.fetch(f"SELECT value FROM {outbox} WHERE lane = $1 AND lane_seq = $2", cert.lane, cert.lane_seq):
        envelope = decode_envelope(row["value"])
        if envelope.event_type == DECISION_RESPONSE.name:
            decision = _decode(bytes(envelope.payload))
            found[decision.source_event.event_id] = decision
    return found
