"""Every reason to deny ends an intent in its one outcome, and the provider never hears of it (domain.md 6)."""

from pathlib import Path

import msgspec
import pytest

import action_layer
from action_layer.authz import Posture, load_authz
from action_layer.policy import Actions
from action_layer.store import OUTCOMES
from laws.actions import OutcomeStatus
from laws.catalogue import ACTION_INTENT
from laws.contracts.action import ActionIntent
from laws.reasons import Reason
from spine.service import Append, Emit, On, Put
from tests.services import facts
from tests.services.fake_state import FakeLane, event_of, published, record

AUTHZ, _ = load_authz(Path(action_layer.__path__[0]) / "packs" / "authz_v0.yaml")
KINDS = AUTHZ.kinds_by_origin
# Each breaks this rule and, but for the last, every one after it: the first reason is the one that is told.
DENIED = [
    (msgspec.structs.replace(AUTHZ, posture=Posture("CLOSED", allow_execution=False), kinds_by_origin={}), Reason.POSTURE_BLOCK),
    (msgspec.structs.replace(AUTHZ, kinds_by_origin={}, actors_by_origin={}), Reason.AUTHZ_ORIGIN_DENY),
    (msgspec.structs.replace(AUTHZ, kinds_by_origin=dict.fromkeys(KINDS, ()), actors_by_origin={}), Reason.AUTHZ_ACTION_KIND_DENY),
    (msgspec.structs.replace(AUTHZ, actors_by_origin={}), Reason.AUTHZ_ACTOR_PRINCIPAL_DENY),
]


@pytest.mark.parametrize(("authz", "reason"), DENIED, ids=[reason.value for _, reason in DENIED])
def test_each_denial_is_one_outcome_with_its_reason_and_no_call(authz: object, reason: Reason) -> None:
    actions = Actions(msgspec.convert(msgspec.to_builtins(authz), type(AUTHZ)))
    door = On(ACTION_INTENT, actions.on_intent, actions.intent_reads)
    body = msgspec.convert(facts.intent(), ActionIntent)
    lane, event = FakeLane(), event_of(ACTION_INTENT, "i1", body)
    effects = lane.one(record(door, event))
    assert [type(effect) for effect in effects] == [Put, Append, Emit]
    (output,) = published(effects, event.cause)
    assert (output.body.status, output.body.reason, output.body.outcome_payload.reason_code) == (OutcomeStatus.DENIED, reason, reason)
    assert lane.one(record(door, event_of(ACTION_INTENT, "i2", body))) == (), "the same wish again is not denied twice"
    assert [row.reason for row in lane.store.all(OUTCOMES)] == [reason.value]
