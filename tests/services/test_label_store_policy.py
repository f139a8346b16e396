"""Lawful labels only, published as they are; the as-of answer and what it may not depend on (domain.md 8.6, 8.7, C11)."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_store.app import build
from label_store.policy import RESOLUTION_RULE, Resolution, refusal, resolve
from label_store.store import LABELS, Label
from laws import ids
from laws.catalogue import LABEL_ASSERTION
from laws.contracts.label import LabelAssertion, LabelSubjectKey, label_semantic_hash
from laws.evidence import EvidenceRef
from laws.labels import LABEL_VALUES, SOURCE_PRECEDENCE, LabelType, SourceType
from laws.reasons import Reason
from testkit.world import FraudKind, Identity, TriggerType, Truth, decide
from tests.services import facts
from tests.services.bench import INSTANT, PINS, Bench, reply_of, settings
from tests.services.fake_state import OTHER_RUN, RUN

WRITER = "SYSTEM::case_management"
TIMELINE_EVENT = "8" * 32


def assertion(**changes: Any) -> dict[str, Any]:
    """A label_assertion, its id and hash computed from what it says."""
    payload: dict[str, Any] = {
        "case_timeline_event_id": TIMELINE_EVENT,
        "label_subject_key": {"platform_run_id": RUN, "event_id": facts.SOURCE},
        "pins": PINS,
        "label_type": "fraud_disposition",
        "label_value": "FRAUD_CONFIRMED",
        "effective_time": INSTANT,
        "observed_time": "2026-01-09T09:30:00.000000Z",
        "source_type": "HUMAN",
        "evidence_refs": [{"ref_type": "EXTERNAL_REF", "ref_id": "2"}, {"ref_type": "CASE_EVENT", "ref_id": "1"}],
        "actor_id": facts.ANALYST,
        **changes,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    subject = LabelSubjectKey(**payload["label_subject_key"])
    label_type = LabelType(payload["label_type"])
    assertion_id = ids.label_assertion_id(payload["case_timeline_event_id"], subject.platform_run_id, subject.event_id, label_type.value)
    digest = label_semantic_hash(
        subject,
        label_type,
        payload["label_value"],
        payload["effective_time"],
        payload["observed_time"],
        SourceType(payload["source_type"]),
        payload.get("actor_id"),
        tuple(msgspec.convert(ref, EvidenceRef) for ref in payload["evidence_refs"]),
    )
    return {"label_assertion_id": assertion_id, "payload_hash": digest, **payload}


def test_a_label_is_kept_and_published_as_it_came() -> None:
    bench = Bench(build(settings()))
    payload = assertion()
    reply = reply_of(bench.command(LABEL_ASSERTION, payload["label_assertion_id"], payload, WRITER))
    assert (reply.status, msgspec.to_builtins(reply.body)) == (201, {"assertion_ref": f"ls:{payload['label_assertion_id']}"})
    (row,) = bench.rows(LABELS)
    assert (row.label_type, row.label_value, row.source_type) == ("fraud_disposition", "FRAUD_CONFIRMED", "HUMAN")
    assert (row.effective_time, row.observed_time) == (payload["effective_time"], payload["observed_time"])
    (published,) = bench.sent
    assert (published.topic, published.event_id) == ("fp.bus.labels.events.v1", payload["label_assertion_id"])
    assert msgspec.json.decode(msgspec.json.encode(published.body)) == payload
    assert msgspec.json.decode(row.assertion) == payload


def test_the_order_of_evidence_says_nothing() -> None:
    payload = assertion()
    assert assertion(evidence_refs=payload["evidence_refs"][::-1])["payload_hash"] == payload["payload_hash"]


Change = Callable[[dict[str, Any]], dict[str, Any]]
UNLAWFUL: list[tuple[Change, Reason, tuple[str, ...]]] = [
    (lambda _: assertion(actor_id=None), Reason.ACTOR_MISSING, ("actor_id", "HUMAN")),
    (lambda _: assertion(label_value="CHARGEBACK"), Reason.CONTRACT_INVALID, ("label_value", "CHARGEBACK", "fraud_disposition")),
    (lambda _: assertion(pins={**PINS, "platform_run_id": OTHER_RUN}), Reason.CONTRACT_INVALID, ("platform_run_id", RUN, OTHER_RUN)),
    (lambda _: assertion(effective_time="2026-02-30T00:00:00.000000Z"), Reason.CONTRACT_INVALID, ("day",)),
    (lambda label: {**label, "label_assertion_id": "0" * 32}, Reason.CONTRACT_INVALID, ("label_assertion_id", "0" * 32)),
    (lambda label: {**label, "payload_hash": "0" * 64}, Reason.CONTRACT_INVALID, ("payload_hash", "0" * 64)),
    (lambda label: {**label, "label_value": "LEGIT_CONFIRMED"}, Reason.CONTRACT_INVALID, ("payload_hash",)),
    (lambda label: {**label, "observed_time": "2026-01-10T00:00:00.000000Z"}, Reason.CONTRACT_INVALID, ("payload_hash",)),
    (lambda label: {**label, "actor_id": "HUMAN::other"}, Reason.CONTRACT_INVALID, ("payload_hash",)),
    (lambda label: {**label, "case_timeline_event_id": "7" * 32}, Reason.CONTRACT_INVALID, ("label_assertion_id",)),
]


@pytest.mark.parametrize(("change", "reason", "named"), UNLAWFUL)
def test_an_unlawful_label_is_refused_by_field_and_value(change: Change, reason: Reason, named: tuple[str, ...]) -> None:
    payload = change(assertion())
    refused = refusal(msgspec.convert(payload, LabelAssertion))
    assert refused is not None
    assert refused.reason is reason
    assert all(word in refused.detail for word in named), refused.detail
    bench = Bench(build(settings()))
    with pytest.raises(ValueError):
        bench.command(LABEL_ASSERTION, payload["label_assertion_id"], payload, WRITER)
    assert bench.rows(LABELS) == bench.sent == []


@pytest.mark.parametrize(("label_type", "value"), [(kind, value) for kind in LabelType for value in sorted(LABEL_VALUES[kind])])
def test_every_value_of_the_catalogue_is_lawful(label_type: LabelType, value: str) -> None:
    assert refusal(msgspec.convert(assertion(label_type=label_type.value, label_value=value), LabelAssertion)) is None


@pytest.mark.parametrize("kind", [FraudKind.NONE, FraudKind.ATO, FraudKind.FRIENDLY, FraudKind.CARD_TESTING])
def test_what_the_worlds_analysts_say_is_lawful(kind: FraudKind) -> None:
    class Truths:
        def of_event(self, event_id: str) -> Truth:
            return Truth(kind, None, 0)

    drafts = decide(Identity(RUN, "traffic_fraud", facts.SOURCE), 0, {TriggerType.DECISION_ESCALATION}, Truths(), 1)
    assert drafts
    for draft in drafts:
        said = {name: getattr(draft, name) for name in ("label_type", "label_value", "effective_time", "observed_time", "actor_id")}
        assert refusal(msgspec.convert(assertion(**said, source_type=draft.source_type), LabelAssertion)) is None


# --- as-of resolution -----------------------------------------------------------------------------------------------------------------

TIMES = [f"2026-01-{day:02d}T00:00:00.000000Z" for day in range(1, 6)]


def label(number: int, value: str, observed: str, source: SourceType) -> Label:
    assertion_id = f"{number:032x}"
    kind = LabelType.FRAUD_DISPOSITION
    return Label(assertion_id, RUN, facts.SOURCE, kind, value, INSTANT, observed, source, None, "0" * 64, b"")


LABEL = st.builds(
    label,
    st.integers(0, 2**64),
    st.sampled_from(sorted(LABEL_VALUES[LabelType.FRAUD_DISPOSITION])),
    st.sampled_from(TIMES),
    st.sampled_from(SourceType),
)
LABEL_SETS = st.lists(LABEL, max_size=8, unique_by=lambda one: one.label_assertion_id)
AS_OF = st.sampled_from(TIMES)


@given(LABEL_SETS, AS_OF, st.randoms())
def test_the_answer_does_not_depend_on_the_order_of_arrival(labels: list[Label], as_of: str, random: Any) -> None:
    shuffled = labels[:]
    random.shuffle(shuffled)
    assert resolve(shuffled, as_of) == resolve(labels, as_of)


@given(LABEL_SETS, LABEL_SETS, AS_OF)
def test_later_assertions_never_change_an_earlier_answer(labels: list[Label], more: list[Label], as_of: str) -> None:
    later = [one for one in more if one.observed_time > as_of]
    assert resolve([*labels, *later], as_of) == resolve(labels, as_of)


@given(LABEL_SETS, AS_OF)
def test_the_answer_is_of_the_strongest_source_and_its_latest_observation(labels: list[Label], as_of: str) -> None:
    found = resolve(labels, as_of)
    known = [one for one in labels if one.observed_time <= as_of]
    if not known:
        assert found == (Resolution.NOT_FOUND, None, ())
        return
    best_source = max(SOURCE_PRECEDENCE[one.source_type] for one in known)
    strongest = [one for one in known if SOURCE_PRECEDENCE[one.source_type] == best_source]
    latest = max(one.observed_time for one in strongest)
    top = sorted((one for one in strongest if one.observed_time == latest), key=lambda one: one.label_assertion_id)
    values = {one.label_value for one in top}
    if len(values) == 1:
        assert found == (Resolution.RESOLVED, top[-1].label_value, (top[-1].label_assertion_id,))
    else:
        assert found == (Resolution.CONFLICT, None, tuple(one.label_assertion_id for one in top))


@pytest.mark.parametrize("weaker", [SourceType.EXTERNAL, SourceType.AUTO, SourceType.SYSTEM])
def test_a_person_outweighs_whatever_is_said_later_by_others(weaker: SourceType) -> None:
    person = label(1, "LEGIT_CONFIRMED", TIMES[0], SourceType.HUMAN)
    other = label(2, "FRAUD_CONFIRMED", TIMES[3], weaker)
    assert resolve([person, other], TIMES[4]) == (Resolution.RESOLVED, "LEGIT_CONFIRMED", (person.label_assertion_id,))
    assert resolve([other], TIMES[4]).label_value == "FRAUD_CONFIRMED"


def test_system_ranks_with_auto() -> None:
    system, auto = label(1, "FRAUD_SUSPECTED", TIMES[0], SourceType.SYSTEM), label(2, "LEGIT_CONFIRMED", TIMES[0], SourceType.AUTO)
    assert resolve([system, auto], TIMES[0]).outcome is Resolution.CONFLICT


def test_the_rule_has_a_name_and_a_version() -> None:
    assert RESOLUTION_RULE == "ls.resolution.doc.v1"
    assert build(settings()).policy_content["resolution_rule"] == RESOLUTION_RULE
