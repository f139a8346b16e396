"""What AL decides: who may, what is asked of the provider, and how an intent ended (domain.md 6). Every intent has one outcome."""

import msgspec

from action_layer.authz import Authz, denial
from action_layer.provider_client import EFFECT, PROVIDER_EXECUTE, ProviderRequest
from action_layer.store import EXECUTING, EXECUTIONS, OUTCOMES, TERMINAL, Execution, Outcome
from laws import ids
from laws.actions import PROVIDER_VERB, OutcomeStatus, TerminalState
from laws.catalogue import ACTION_INTENT, ACTION_OUTCOME
from laws.contracts.action import ActionIntent, ActionOutcome, Attempt, OutcomePayload
from laws.contracts.audit import SubjectKey
from laws.encode import canonical_struct
from laws.payload_hash import payload_hash
from laws.reasons import Reason
from spine import service
from spine.service import Answer, Append, Call, Cause, Effects, Emit, Event, Put, Read, Reads, State

_INTENT = msgspec.json.Decoder(ActionIntent)

_FAILURES = {
    "REFUSED": (TerminalState.FAILED, Reason.PERMANENT_ERROR),
    "EXHAUSTED": (TerminalState.FAILED, Reason.RETRY_EXHAUSTED),
    "UNCERTAIN": (TerminalState.UNCERTAIN_COMMIT, Reason.UNKNOWN_COMMIT),
}


class Actions:
    """The handlers under one authorisation policy."""

    def __init__(self, authz: Authz) -> None:
        self._authz = authz

    def on_intent(self, event: Event[ActionIntent], state: State) -> Effects:
        """Ask the provider, or deny. A second intent under a known key is never executed again."""
        intent = event.body
        known = state.get(EXECUTIONS, intent.idempotency_key)
        if known is not None:
            return _second_intent(event, known)
        if reason := denial(self._authz, intent):
            payload = OutcomePayload(terminal_state=TerminalState.DENIED, reason_code=reason)
            outcome = self._outcome(intent, event.cause, OutcomeStatus.DENIED, payload, state)
            return [Put(EXECUTIONS, _execution(event, TERMINAL)), *outcome]
        request = ProviderRequest(
            action_kind=PROVIDER_VERB[intent.action_kind],
            subject=msgspec.to_builtins(intent.action_payload),
            decision_id=intent.decision_id,
            action_id=intent.action_id,
            platform_run_id=intent.pins.platform_run_id,
        )
        return [
            Put(EXECUTIONS, _execution(event, EXECUTING)),
            Call(PROVIDER_EXECUTE, intent.idempotency_key, canonical_struct(request)),
        ]

    def on_answer(self, answer: Answer, state: State) -> Effects:
        """The provider's settled answer is the intent's outcome."""
        execution = state.get(EXECUTIONS, answer.ref)
        if execution is None:
            raise ValueError(f"idempotency_key={answer.ref} has an answer but no execution")
        intent = _INTENT.decode(execution.intent)
        attempts = tuple(Attempt(number, attempt.result, attempt.code) for number, attempt in enumerate(answer.attempts, 1))
        if answer.result == "DONE":
            effect = EFFECT.decode(answer.body)
            status = OutcomeStatus.EXECUTED
            payload = OutcomePayload(
                terminal_state=TerminalState.EXECUTED,
                attempts=attempts,
                final_provider_ref=effect.provider_ref,
                completed_at_utc=effect.completed_at,
            )
        else:
            terminal, reason = _FAILURES[answer.result]
            status = OutcomeStatus.FAILED
            payload = OutcomePayload(terminal_state=terminal, attempts=attempts, reason_code=reason, final_provider_code=answer.code)
        return [
            Put(EXECUTIONS, msgspec.structs.replace(execution, state=TERMINAL)),
            *self._outcome(intent, answer.cause, status, payload, state),
        ]

    @staticmethod
    def answer_reads(answer: Answer) -> Reads:
        """The execution that asked."""
        yield Read(EXECUTIONS, (answer.ref,))

    @staticmethod
    def intent_reads(event: Event[ActionIntent]) -> Reads:
        """Whether the key is known."""
        yield Read(EXECUTIONS, (event.body.idempotency_key,))

    def _outcome(
        self, intent: ActionIntent, cause: Cause, status: OutcomeStatus, payload: OutcomePayload, state: State
    ) -> list[service.Effect]:
        reason = payload.reason_code
        run = intent.pins.platform_run_id
        outcome_id = ids.outcome_id(run, intent.idempotency_key)
        body = ActionOutcome(
            outcome_id=outcome_id,
            decision_id=intent.decision_id,
            action_id=intent.action_id,
            action_kind=intent.action_kind,
            status=status,
            idempotency_key=intent.idempotency_key,
            actor_principal=intent.actor_principal,
            origin=intent.origin,
            authz_policy_rev=self._authz.policy_rev,
            run_config_digest=state.provenance.config_digest,
            pins=intent.pins,
            source_event_id=intent.action_payload.event_id,
            outcome_payload=payload,
            attempt_seq=len(payload.attempts) or None,
            reason=reason,
        )
        row = Outcome(
            outcome_id=outcome_id,
            platform_run_id=run,
            idempotency_key=intent.idempotency_key,
            decision_id=intent.decision_id,
            action_kind=intent.action_kind.value,
            status=status.value,
            terminal_state=payload.terminal_state.value,
            reason=reason.value if reason else None,
            provider_ref=payload.final_provider_ref,
        )
        return [Append(OUTCOMES, row, cause), Emit(ACTION_OUTCOME, outcome_id, body, cause=cause)]


def _execution(event: Event[ActionIntent], state: str) -> Execution:
    intent = event.body
    return Execution(
        idempotency_key=intent.idempotency_key,
        platform_run_id=intent.pins.platform_run_id,
        intent_event_id=event.identity.event_id,
        decision_id=intent.decision_id,
        state=state,
        intent=canonical_struct(intent),
    )


def _second_intent(event: Event[ActionIntent], known: Execution) -> Effects:
    """The same wish under another event id is dropped; another wish under the same key is an anomaly."""
    wish = canonical_struct(event.body)
    if wish == known.intent:
        return []
    subject = SubjectKey(event.identity.platform_run_id, event.identity.event_class.value, event.identity.event_id)
    version = ACTION_INTENT.schema_versions[-1]
    first, other = (payload_hash(event.event_type, payload, version) for payload in (known.intent, wish))
    details = {"idempotency_key": known.idempotency_key, "first_event_id": known.intent_event_id}
    return [service.Anomaly(Reason.PAYLOAD_HASH_MISMATCH, subject, first, other, details)]
