"""action_intent and action_outcome (domain.md 5.6, 6). requested_at is the envelope's emitted_at_utc."""

from typing import Annotated

import msgspec
from msgspec import Meta

from laws.actions import ActionKind, ActionOrigin, OutcomeStatus, TerminalState
from laws.fields import EventId, Hex32, Hex64, Instant, Label, Name
from laws.pins import ContextPins
from laws.reasons import Reason


class ActionSubject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the effect is about: the source event, and the account where it is known."""

    event_id: EventId
    flow_id: Label
    account_id: Label | None = None


class ActionIntent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A wish for one effect."""

    action_id: Hex32
    decision_id: Hex32
    action_kind: ActionKind
    idempotency_key: Hex64
    actor_principal: Label
    origin: ActionOrigin
    policy_rev: Label
    run_config_digest: Hex64
    pins: ContextPins
    action_payload: ActionSubject
    reason_ref: Name | None = None
    notes: Name | None = None


class Attempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one call to the provider, or one look-up, said."""

    attempt_seq: Annotated[int, Meta(ge=1)]
    result: Label
    provider_code: Label | None = None


class OutcomePayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the execution ended."""

    terminal_state: TerminalState
    attempts: tuple[Attempt, ...] = ()
    reason_code: Reason | None = None
    final_provider_code: Label | None = None
    final_provider_ref: Name | None = None
    completed_at_utc: Instant | None = None
    """When the outside says that it was done: a recorded input, not our clock."""


class ActionOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The one terminal outcome of an intent."""

    outcome_id: Hex32
    decision_id: Hex32
    action_id: Hex32
    action_kind: ActionKind
    status: OutcomeStatus
    idempotency_key: Hex64
    actor_principal: Label
    origin: ActionOrigin
    authz_policy_rev: Label
    run_config_digest: Hex64
    pins: ContextPins
    source_event_id: EventId
    outcome_payload: OutcomePayload
    attempt_seq: Annotated[int, Meta(ge=1)] | None = None
    reason: Reason | None = None
