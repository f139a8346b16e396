"""The one catalogue of actions, their origins and who may ask for them (domain.md 5.7, 6, 8.4)."""

from enum import StrEnum


class ActionKind(StrEnum):
    """Every kind of effect that the action layer may execute."""

    ALLOW = "ALLOW"
    STEP_UP = "STEP_UP"
    QUEUE_REVIEW = "QUEUE_REVIEW"
    BLOCK = "BLOCK"
    BLOCK_ACCOUNT = "BLOCK_ACCOUNT"
    UNBLOCK_ACCOUNT = "UNBLOCK_ACCOUNT"
    NOTIFY_CUSTOMER = "NOTIFY_CUSTOMER"
    FREEZE_CARD = "FREEZE_CARD"
    RELEASE_HOLD = "RELEASE_HOLD"


# What the provider is asked to do; a disposition is an effect too, so that every decision can be counted by its effect.
PROVIDER_VERB = {
    ActionKind.ALLOW: "txn_disposition_publish",
    ActionKind.STEP_UP: "txn_step_up",
    ActionKind.QUEUE_REVIEW: "case_queue",
    ActionKind.BLOCK: "txn_block",
    ActionKind.BLOCK_ACCOUNT: "account_block",
    ActionKind.UNBLOCK_ACCOUNT: "account_unblock",
    ActionKind.NOTIFY_CUSTOMER: "customer_notify",
    ActionKind.FREEZE_CARD: "card_freeze",
    ActionKind.RELEASE_HOLD: "hold_release",
}

DECISION_KINDS = frozenset({ActionKind.ALLOW, ActionKind.STEP_UP, ActionKind.QUEUE_REVIEW, ActionKind.BLOCK})
ESCALATING_KINDS = frozenset({ActionKind.QUEUE_REVIEW, ActionKind.BLOCK})
CASE_KINDS = frozenset(ActionKind) - DECISION_KINDS


class ActionOrigin(StrEnum):
    """Who asks for an effect."""

    DF = "DF"
    CASE = "CASE"
    HUMAN = "HUMAN"
    OPS = "OPS"


class OutcomeStatus(StrEnum):
    """Terminal status of an action; each intent ends in exactly one."""

    EXECUTED = "EXECUTED"
    DENIED = "DENIED"
    FAILED = "FAILED"


class TerminalState(StrEnum):
    """How the execution ended, finer than the status."""

    EXECUTED = "EXECUTED"
    DENIED = "DENIED"
    FAILED = "FAILED"
    UNCERTAIN_COMMIT = "UNCERTAIN_COMMIT"
