"""What a trigger leads a person to: the failed action, its audit record, the place of an anomaly (domain.md 8.1)."""

from typing import Any

import pytest

from case_trigger.app import build
from laws import ids
from laws.catalogue import ACTION_OUTCOME, CORRIDOR_ANOMALY
from tests.services import facts
from tests.services.bench import Bench, settings
from tests.services.fake_state import RUN


def evidence(body: Any) -> list[tuple[str, str]]:
    return [(ref.ref_type.value, ref.ref_id) for ref in body.evidence_refs]


def test_a_failed_action_leads_to_its_outcome_its_audit_record_and_its_reason() -> None:
    bench = Bench(build(settings()))
    bench.record(ACTION_OUTCOME, "o1", facts.outcome("FAILED", reason="RETRY_EXHAUSTED"))
    (published,) = bench.sent
    assert evidence(published.body) == [
        ("ACTION_OUTCOME", ids.outcome_id(RUN, "1" * 64)),
        ("DLA_AUDIT_RECORD", ids.audit_id(RUN, facts.decision_id())),
    ]
    assert published.body.trigger_payload == {"status": "FAILED", "reason": "RETRY_EXHAUSTED"}


@pytest.mark.parametrize(
    ("absent", "place"),
    [
        (("other_ref",), "fp.bus.traffic.fraud.v1/2/17"),
        (("first_ref", "other_ref"), f"decision_fabric:{'3' * 64}"),
    ],
)
def test_an_anomaly_without_the_other_place_still_leads_somewhere(absent: tuple[str, ...], place: str) -> None:
    bench = Bench(build(settings()))
    bench.record(CORRIDOR_ANOMALY, "x1", {name: value for name, value in facts.anomaly().items() if name not in absent})
    (published,) = bench.sent
    assert evidence(published.body) == [("EB_ORIGIN_OFFSET", place)]
