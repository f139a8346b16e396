"""What a label means, and which one holds at a time (domain.md 8.6, 8.7). Nothing is ever updated."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from label_store.store import LABELS, Label
from laws import ids
from laws.catalogue import LABEL_ASSERTION
from laws.contracts.label import LabelAssertion, label_semantic_hash
from laws.encode import canonical_struct
from laws.labels import LABEL_VALUES, SOURCE_PRECEDENCE, LabelType, SourceType, check_label
from laws.reasons import Reason
from laws.times import parse_instant
from spine.service import Append, Effects, Emit, Event, Reply, State

POLICY_REV = "ls.taxonomy.v0@r1"

# Human before external before automated, then the latest observation, then the id; a dataset pins this name (8.7, DOC precedence).
RESOLUTION_RULE = "ls.resolution.doc.v1"

# What decides here, as JSON: its digest is the bundle id of every output.
CONTENT: dict[str, Any] = {
    "policy_rev": POLICY_REV,
    "resolution_rule": RESOLUTION_RULE,
    "source_precedence": {source.value: rank for source, rank in SOURCE_PRECEDENCE.items()},
    "label_values": {kind.value: sorted(LABEL_VALUES[kind]) for kind in LabelType},
}


class Accepted(msgspec.Struct, frozen=True):
    """What the caller is told once the label is durable."""

    assertion_ref: str


class Refusal(NamedTuple):
    """Why a label assertion is refused: the field, the value and what to do."""

    reason: Reason
    detail: str


def refusal(label: LabelAssertion) -> Refusal | None:
    """Why a label assertion is not lawful, or None. The contract has checked the fields one by one; this is about their meaning (8.6)."""
    if label.source_type is SourceType.HUMAN and label.actor_id is None:
        return Refusal(Reason.ACTOR_MISSING, "actor_id is missing: a HUMAN assertion names its actor")
    if detail := _unlawful(label):
        return Refusal(Reason.CONTRACT_INVALID, detail)
    return None


def _unlawful(label: LabelAssertion) -> str | None:
    try:
        check_label(label.label_type, label.label_value)
        parse_instant(label.effective_time)
        parse_instant(label.observed_time)
    except ValueError as error:
        return str(error)
    subject = label.label_subject_key
    if subject.platform_run_id != label.pins.platform_run_id:
        return f"label_subject_key.platform_run_id={subject.platform_run_id} is not pins.platform_run_id={label.pins.platform_run_id}"
    expected = ids.label_assertion_id(label.case_timeline_event_id, subject.platform_run_id, subject.event_id, label.label_type.value)
    if label.label_assertion_id != expected:
        return f"label_assertion_id={label.label_assertion_id} is not {expected}, which its timeline event, subject and type make"
    digest = label_semantic_hash(
        subject,
        label.label_type,
        label.label_value,
        label.effective_time,
        label.observed_time,
        label.source_type,
        label.actor_id,
        label.evidence_refs,
    )
    if label.payload_hash != digest:
        return f"payload_hash={label.payload_hash} is not {digest}, the hash of what the label says"
    return None


def on_assertion(event: Event[LabelAssertion], state: State) -> Effects:
    """Append the label and publish it (8.6). The boundary has refused what is not lawful; what is left raises, and is parked."""
    label = event.body
    if refused := refusal(label):
        raise ValueError(refused.detail)
    row = Label(
        label_assertion_id=label.label_assertion_id,
        platform_run_id=label.label_subject_key.platform_run_id,
        subject_event_id=label.label_subject_key.event_id,
        label_type=label.label_type,
        label_value=label.label_value,
        effective_time=label.effective_time,
        observed_time=label.observed_time,
        source_type=label.source_type,
        actor_id=label.actor_id,
        payload_hash=label.payload_hash,
        assertion=canonical_struct(label),
    )
    reference = f"ls:{label.label_assertion_id}"
    return [Append(LABELS, row), Emit(LABEL_ASSERTION, label.label_assertion_id, label), Reply(201, Accepted(reference))]


class Resolution(StrEnum):
    """Outcome of an as-of question."""

    RESOLVED = "RESOLVED"
    CONFLICT = "CONFLICT"
    NOT_FOUND = "NOT_FOUND"


class Resolved(NamedTuple):
    """What held at a time. A conflict has no value: the platform does not choose between equals."""

    outcome: Resolution
    label_value: str | None
    label_assertion_ids: tuple[str, ...]


def resolve(labels: Iterable[Label], as_of: str) -> Resolved:
    """The label of one subject and type that was known at `as_of` (an instant), by RESOLUTION_RULE.

    Only what was observed by then counts, so later assertions never change an earlier answer.
    """
    known = [label for label in labels if label.observed_time <= as_of]
    if not known:
        return Resolved(Resolution.NOT_FOUND, None, ())
    top = max(_rank(label) for label in known)
    best = sorted((label for label in known if _rank(label) == top), key=lambda label: label.label_assertion_id)
    ids_of_best = tuple(label.label_assertion_id for label in best)
    if len({label.label_value for label in best}) > 1:
        return Resolved(Resolution.CONFLICT, None, ids_of_best)
    return Resolved(Resolution.RESOLVED, best[-1].label_value, (best[-1].label_assertion_id,))


def _rank(label: Label) -> tuple[int, str]:
    return SOURCE_PRECEDENCE[label.source_type], label.observed_time
