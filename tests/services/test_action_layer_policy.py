"""AL ends every intent in exactly one outcome, and asks the outside at most once per key (domain.md 6)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import action_layer
from action_layer.app import build
from action_layer.authz import Authz, Posture, denial, load_authz
from action_layer.policy import Actions
from action_layer.provider_client import PROVIDER_EXECUTE
from action_layer.store import EXECUTIONS, OUTCOMES
from laws import ids
from laws.actions import CASE_KINDS, DECISION_KINDS, PROVIDER_VERB, ActionKind, ActionOrigin, OutcomeStatus, TerminalState
from laws.canonical import JsonInput, canonical_json
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME, DECISION_RESPONSE
from laws.contracts.action import ActionIntent, ActionOutcome, ActionSubject
from laws.payload_hash import payload_hash_of_value
from laws.reasons import Reason
from spine.deadline import Deadline
from spine.service import Anomaly, Answer, Append, Attempt, Call, Cause, Emit, Event, On, Put, Task, TaskResult
from spine.settings import KafkaSecurity, Rung, Settings
from tests.services.fake_state import PROVENANCE, RUN, FakeLane, answered, cause_of, event_of, published, record

AUTHZ, CONTENT = load_authz(Path(action_layer.__path__[0]) / "packs" / "authz_v0.yaml")
ACTIONS = Actions(AUTHZ)
INTENT_DOOR = On(ACTION_INTENT, ACTIONS.on_intent, ACTIONS.intent_reads)


async def never(ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
    raise AssertionError("a policy calls nobody")


EXECUTE = Task(PROVIDER_EXECUTE, never, never, ACTIONS.on_answer, ACTIONS.answer_reads)
DONE_BODY = b'{"key":"k","status":"EXECUTED","provider_ref":"prv_1","completed_at":"2026-01-05T12:00:01.000000Z","action_kind":"txn_block"}'


def intent(
    kind: ActionKind = ActionKind.BLOCK,
    origin: ActionOrigin = ActionOrigin.DF,
    actor: str = "SYSTEM::decision_fabric",
    source: str = "e1",
    **more: Any,
) -> ActionIntent:
    pins = cause_of(source).pins
    decision = ids.hex32("test", source)
    body = ActionIntent(
        action_id=ids.action_id(decision, kind.value),
        decision_id=decision,
        action_kind=kind,
        idempotency_key=ids.idempotency_key(source, "fraud.disposition", msgspec.to_builtins(pins)),
        actor_principal=actor,
        origin=origin,
        policy_rev="df.guardrails.v1",
        run_config_digest="c" * 64,
        pins=pins,
        action_payload=ActionSubject(source, "f1", "a1"),
    )
    return msgspec.structs.replace(body, **more)


def came(body: ActionIntent, event_id: str = "i1") -> Event[Any]:
    return event_of(ACTION_INTENT, event_id, body)


def answer_of(body: ActionIntent, result: str, *, effect: bytes = b"", code: str | None = None, attempts: tuple[Attempt, ...]) -> Answer:
    return Answer(body.idempotency_key, result, b"{}", attempts, cause_of("i1"), effect, code)


# --- who may ---


@pytest.mark.parametrize(
    ("kind", "origin", "actor", "reason"),
    [
        *((kind, ActionOrigin.DF, "SYSTEM::decision_fabric", None) for kind in DECISION_KINDS),
        *((kind, ActionOrigin.DF, "SYSTEM::decision_fabric", Reason.AUTHZ_ACTION_KIND_DENY) for kind in CASE_KINDS),
        *((kind, ActionOrigin.CASE, "SYSTEM::case_management", None) for kind in CASE_KINDS),
        *((kind, ActionOrigin.CASE, "SYSTEM::case_management", Reason.AUTHZ_ACTION_KIND_DENY) for kind in DECISION_KINDS),
        (ActionKind.FREEZE_CARD, ActionOrigin.CASE, "HUMAN::analyst-03", None),
        (ActionKind.FREEZE_CARD, ActionOrigin.HUMAN, "HUMAN::analyst-03", None),
        (ActionKind.RELEASE_HOLD, ActionOrigin.OPS, "HUMAN::ops-1", None),
        (ActionKind.FREEZE_CARD, ActionOrigin.OPS, "SYSTEM::ops", Reason.AUTHZ_ACTION_KIND_DENY),
        (ActionKind.BLOCK, ActionOrigin.DF, "HUMAN::analyst-03", Reason.AUTHZ_ACTOR_PRINCIPAL_DENY),
        (ActionKind.BLOCK, ActionOrigin.DF, "system::decision_fabric", Reason.AUTHZ_ACTOR_PRINCIPAL_DENY),
        (ActionKind.FREEZE_CARD, ActionOrigin.HUMAN, "SYSTEM::case_management", Reason.AUTHZ_ACTOR_PRINCIPAL_DENY),
    ],
)
def test_who_may_ask_for_what(kind: ActionKind, origin: ActionOrigin, actor: str, reason: Reason | None) -> None:
    assert denial(AUTHZ, intent(kind, origin, actor)) is reason


def test_what_the_policy_does_not_name_is_denied() -> None:
    nobody = Authz("al.authz.v0", "r1", Posture("NORMAL", allow_execution=True), {}, {})
    assert denial(nobody, intent()) is Reason.AUTHZ_ORIGIN_DENY
    no_actors = msgspec.structs.replace(nobody, kinds_by_origin={ActionOrigin.DF: tuple(DECISION_KINDS)})
    assert denial(no_actors, intent()) is Reason.AUTHZ_ACTOR_PRINCIPAL_DENY


def test_a_closed_posture_denies_everything() -> None:
    closed = msgspec.structs.replace(AUTHZ, posture=Posture("FAIL_CLOSED", allow_execution=False))
    for kind in DECISION_KINDS:
        assert denial(closed, intent(kind)) is Reason.POSTURE_BLOCK


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"surprise": 1}, "surprise"),
        ({"posture": {"mode": "NORMAL"}}, "allow_execution"),
        ({"posture": {"mode": "NORMAL", "allow_execution": "yes"}}, "allow_execution"),
        ({"kinds_by_origin": {"DF": ["EXPLODE"]}}, "EXPLODE"),
        ({"actors_by_origin": {"MARS": ["x"]}}, "MARS"),
    ],
)
def test_a_policy_that_is_not_lawful_is_refused_by_name(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = tmp_path / "authz.yaml"
    path.write_text(yaml.safe_dump(CONTENT | change))
    with pytest.raises(msgspec.ValidationError, match=named):
        load_authz(path)


def test_a_denied_intent_ends_at_once_and_asks_nobody() -> None:
    lane = FakeLane()
    body = intent(ActionKind.FREEZE_CARD)
    event = came(body)
    effects = lane.one(record(INTENT_DOOR, event))
    assert not [effect for effect in effects if isinstance(effect, Call)]
    (output,) = published(effects, event.cause)
    outcome: ActionOutcome = output.body
    assert (outcome.status, outcome.reason) == (OutcomeStatus.DENIED, Reason.AUTHZ_ACTION_KIND_DENY)
    assert outcome.outcome_payload.terminal_state is TerminalState.DENIED and outcome.outcome_payload.attempts == ()
    assert outcome.attempt_seq is None
    assert [row.state for row in lane.store.all(EXECUTIONS)] == ["TERMINAL"]
    assert [row.status for row in lane.store.all(OUTCOMES)] == ["DENIED"]


# --- asking ---


def test_an_allowed_intent_is_asked_of_the_provider_in_its_words() -> None:
    for kind in DECISION_KINDS:
        lane = FakeLane()
        body = intent(kind)
        put, call = lane.one(record(INTENT_DOOR, came(body)))
        assert isinstance(put, Put) and isinstance(call, Call)
        assert (call.task, call.ref) == (PROVIDER_EXECUTE, body.idempotency_key)
        asked: dict[str, JsonInput] = {
            "action_kind": PROVIDER_VERB[kind],
            "subject": {"event_id": "e1", "flow_id": "f1", "account_id": "a1"},
            "decision_id": body.decision_id,
            "action_id": body.action_id,
            "platform_run_id": RUN,
        }
        assert call.request == canonical_json(asked)
        (row,) = lane.store.all(EXECUTIONS)
        assert (row.state, row.idempotency_key, row.intent_event_id) == ("EXECUTING", body.idempotency_key, "i1")


@pytest.mark.parametrize("ended", [False, True])
def test_the_same_wish_under_another_id_is_dropped(ended: bool) -> None:
    lane = FakeLane()
    body = intent()
    lane.run(record(INTENT_DOOR, came(body)))
    if ended:
        lane.run(answered(EXECUTE, answer_of(body, "DONE", effect=DONE_BODY, attempts=(Attempt("DONE"),))))
    assert lane.one(record(INTENT_DOOR, came(body, "i2"))) == ()


def test_another_wish_under_a_known_key_is_an_anomaly_and_never_executed() -> None:
    lane = FakeLane()
    first = intent(ActionKind.ALLOW)
    lane.run(record(INTENT_DOOR, came(first)))
    second = came(intent(ActionKind.BLOCK), "i2")
    (anomaly,) = lane.one(record(INTENT_DOOR, second))
    assert isinstance(anomaly, Anomaly) and anomaly.reason is Reason.PAYLOAD_HASH_MISMATCH
    assert anomaly.subject.event_id == "i2"
    assert anomaly.first_hash == payload_hash_of_value("action_intent", msgspec.to_builtins(first), "v1")
    assert anomaly.other_hash == second.payload_hash
    assert anomaly.details == {"idempotency_key": first.idempotency_key, "first_event_id": "i1"}


# --- ending ---


@pytest.mark.parametrize(
    ("result", "code", "attempts", "status", "terminal", "reason"),
    [
        ("DONE", None, (Attempt("RETRY", "503"), Attempt("DONE")), OutcomeStatus.EXECUTED, TerminalState.EXECUTED, None),
        ("DONE", None, (Attempt("UNKNOWN", "TimeoutError"), Attempt("DONE")), OutcomeStatus.EXECUTED, TerminalState.EXECUTED, None),
        (
            "REFUSED",
            "INSTRUMENT_CLOSED",
            (Attempt("REFUSED", "INSTRUMENT_CLOSED"),),
            OutcomeStatus.FAILED,
            TerminalState.FAILED,
            Reason.PERMANENT_ERROR,
        ),
        ("EXHAUSTED", "503", (Attempt("RETRY", "503"),) * 3, OutcomeStatus.FAILED, TerminalState.FAILED, Reason.RETRY_EXHAUSTED),
        (
            "UNCERTAIN",
            "TimeoutError",
            (Attempt("UNKNOWN", "TimeoutError"),) * 5,
            OutcomeStatus.FAILED,
            TerminalState.UNCERTAIN_COMMIT,
            Reason.UNKNOWN_COMMIT,
        ),
    ],
)
def test_each_answer_ends_the_intent_in_one_outcome(  # one row of the table
    result: str, code: str | None, attempts: tuple[Attempt, ...], status: OutcomeStatus, terminal: TerminalState, reason: Reason | None
) -> None:
    lane = FakeLane()
    body = intent()
    lane.run(record(INTENT_DOOR, came(body)))
    effect = DONE_BODY if result == "DONE" else b""
    answer = answer_of(body, result, effect=effect, code=code, attempts=attempts)
    effects = lane.one(answered(EXECUTE, answer))
    (output,) = published(effects, answer.cause, service="action_layer")
    outcome: ActionOutcome = output.body
    assert output.event_id == outcome.outcome_id == ids.outcome_id(RUN, body.idempotency_key)
    assert output.parent_event_id == "i1"
    assert (outcome.status, outcome.reason) == (status, reason)
    payload = outcome.outcome_payload
    assert (payload.terminal_state, payload.reason_code, payload.final_provider_code) == (terminal, reason, code)
    assert [(entry.attempt_seq, entry.result, entry.provider_code) for entry in payload.attempts] == [
        (number, attempt.result, attempt.code) for number, attempt in enumerate(attempts, 1)
    ]
    assert outcome.attempt_seq == len(attempts)
    done = ("prv_1", "2026-01-05T12:00:01.000000Z") if result == "DONE" else (None, None)
    assert (payload.final_provider_ref, payload.completed_at_utc) == done
    assert (outcome.authz_policy_rev, outcome.run_config_digest) == ("al.authz.v0@r1", PROVENANCE.config_digest)
    assert (outcome.decision_id, outcome.action_id, outcome.source_event_id) == (body.decision_id, body.action_id, "e1")
    assert [row.state for row in lane.store.all(EXECUTIONS)] == ["TERMINAL"]
    (row,) = lane.store.all(OUTCOMES)
    assert (row.outcome_id, row.status, row.terminal_state) == (outcome.outcome_id, status.value, terminal.value)


@pytest.mark.parametrize("result", ["REFUSED", "EXHAUSTED", "UNCERTAIN"])
def test_an_answer_never_asks_again(result: str) -> None:
    lane = FakeLane()
    body = intent()
    lane.run(record(INTENT_DOOR, came(body)))
    effects = lane.one(answered(EXECUTE, answer_of(body, result, attempts=(Attempt("UNKNOWN"),))))
    assert [type(effect) for effect in effects] == [Put, Append, Emit]


def test_an_answer_without_its_execution_is_not_made_an_outcome() -> None:
    with pytest.raises(ValueError, match="no execution"):
        FakeLane().run(answered(EXECUTE, answer_of(intent(), "DONE", effect=DONE_BODY, attempts=())))


RESULTS = st.sampled_from(["DONE", "REFUSED", "EXHAUSTED", "UNCERTAIN"])
KINDS = st.sampled_from(sorted(ActionKind))


@given(st.lists(st.tuples(st.sampled_from(["e1", "e2", "e3"]), KINDS, RESULTS), max_size=15))
@settings(max_examples=60, deadline=None)
def test_every_key_ends_in_at_most_one_outcome_and_is_asked_at_most_once(history: list[tuple[str, ActionKind, str]]) -> None:
    lane = FakeLane()
    asked: list[str] = []
    outcomes: list[str] = []
    keys: set[str] = set()
    for number, (source, kind, result) in enumerate(history):
        body = intent(kind, source=source)
        keys.add(body.idempotency_key)
        event = came(body, f"i{number}")
        effects = lane.one(record(INTENT_DOOR, event))
        outcomes += [output.body.idempotency_key for output in published(effects, event.cause)]
        for call in [effect for effect in effects if isinstance(effect, Call)]:
            asked.append(call.ref)
            answer = answer_of(body, result, effect=DONE_BODY if result == "DONE" else b"", attempts=(Attempt(result),))
            outcomes += [output.body.idempotency_key for output in published(lane.one(answered(EXECUTE, answer)), answer.cause)]
    assert len(asked) == len(set(asked))
    assert sorted(outcomes) == sorted(keys), "exactly one outcome a key"


def test_the_service_counts_the_other_types_of_its_topic_and_is_known_by_its_policy() -> None:
    service = build(
        Settings(
            env=Rung.LOCAL_PARITY,
            release_id="test",
            kafka_bootstrap="localhost:1",
            kafka_security=KafkaSecurity.PLAINTEXT,
            database_url="postgresql://localhost/none",
            http_port=0,
            token_secret="secret",
        )
    )
    (group,) = service.groups
    effect_of = {door.event_type.name: door.apply is not None for door in group.doors}
    assert effect_of == {ACTION_INTENT.name: True, DECISION_RESPONSE.name: False, ACTION_OUTCOME.name: False}
    assert (service.policy_rev, service.policy_content) == ("al.authz.v0@r1", CONTENT)
    assert set(AUTHZ.kinds_by_origin) == set(AUTHZ.actors_by_origin) == set(ActionOrigin)
