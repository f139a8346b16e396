"""Records that stand at their places give one audit record, byte for byte, whatever came when and with what (domain.md 7, C10)."""

from itertools import permutations
from typing import Any

import msgspec
import pytest

from decision_log_audit.policy import chain_reads, on_decision, on_intent, on_outcome
from decision_log_audit.store import AUDIT_RECORDS
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME, DECISION_RESPONSE
from laws.contracts.audit import AuditRecord
from spine.service import Anomaly, Event, On
from tests.services import facts
from tests.services.fake_state import FakeLane, event_of, published, record

PAYLOADS = {DECISION_RESPONSE: facts.decision(), ACTION_INTENT: facts.intent(), ACTION_OUTCOME: facts.outcome()}
EVENTS = [
    event_of(kind, f"{kind.name}-1", msgspec.convert(payload, kind.contract), offset=number)
    for number, (kind, payload) in enumerate(PAYLOADS.items(), 40)
]
DOORS = {
    DECISION_RESPONSE.name: On(DECISION_RESPONSE, on_decision, chain_reads),
    ACTION_INTENT.name: On(ACTION_INTENT, on_intent, chain_reads),
    ACTION_OUTCOME.name: On(ACTION_OUTCOME, on_outcome, chain_reads),
}


def audited(*batches: tuple[Event[Any], ...]) -> tuple[FakeLane, list[tuple[str, bytes]]]:
    """The lane after these transactions, and the pointers that it published."""
    lane, sent = FakeLane(), list[tuple[str, bytes]]()
    for batch in batches:
        for decided in lane.run(*(record(DOORS[event.event_type], event) for event in batch)):
            assert decided.item.cause is not None
            sent += [(output.event_id, output.row.value) for output in published(decided.effects, decided.item.cause)]
    return lane, sent


def test_every_order_and_every_cut_gives_the_same_bytes() -> None:
    found = set()
    for order in permutations(EVENTS):
        for cut in range(3):
            lane, sent = audited(*([order[:cut]] if cut else []), order[cut:])
            (row,) = lane.store.all(AUDIT_RECORDS)
            (pointer,) = sent
            found.add((row.record, row.record_digest, pointer))
    assert len(found) == 1


@pytest.mark.parametrize("second", EVENTS, ids=lambda event: event.event_type)
def test_a_conflict_shows_both_contents_and_the_record_is_of_the_first(second: Event[Any]) -> None:
    kind = DOORS[second.event_type].event_type
    changed = msgspec.structs.replace(second.body, run_config_digest="a" * 64)
    other = event_of(kind, "another", changed, offset=99)
    lane, _ = audited((second,))
    (anomaly,) = lane.one(record(DOORS[second.event_type], other))
    assert isinstance(anomaly, Anomaly)
    assert (anomaly.first_hash, anomaly.other_hash) == (second.payload_hash, other.payload_hash)
    assert anomaly.first_hash != anomaly.other_hash
    lane.run(*(record(DOORS[event.event_type], event) for event in EVENTS if event is not second))
    (row,) = lane.store.all(AUDIT_RECORDS)
    audit = msgspec.json.decode(row.record, type=AuditRecord)
    named = [audit.decision_event, *audit.action_intents, *audit.action_outcomes]
    assert [(ref.event_id, ref.payload_hash) for ref in named] == [(event.identity.event_id, event.payload_hash.hex()) for event in EVENTS]
    assert audit.run_config_digest == "f" * 64
