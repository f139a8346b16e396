"""Ids are for ever: a recipe that changes without a new name fails here."""

from laws import ids

PINS = {"platform_run_id": "platform_20260105T000000Z", "scenario_run_id": "a" * 32}


def test_ids_of_a_recipe_never_change() -> None:
    made = {
        "decision_id": ids.decision_id("e1", "platform_20260105T000000Z", "b" * 64, ["c", "t", "topic", 0, "7"]),
        "decision_event_id": ids.decision_event_id("e1", PINS),
        "intent_event_id": ids.intent_event_id("e1", "fraud.disposition", PINS),
        "idempotency_key": ids.idempotency_key("e1", "fraud.disposition", PINS),
        "outcome_id": ids.outcome_id("platform_20260105T000000Z", "k"),
        "audit_id": ids.audit_id("platform_20260105T000000Z", "d"),
        "case_id": ids.case_id("platform_20260105T000000Z", "traffic_fraud", "e1"),
        "case_trigger_id": ids.case_trigger_id("c", "ANOMALY", "audit:1"),
        "label_assertion_id": ids.label_assertion_id("t", "platform_20260105T000000Z", "e1", "fraud_disposition"),
    }
    assert made == GOLDEN


def test_the_same_content_under_another_recipe_is_another_id() -> None:
    assert ids.intent_event_id("e1", "d", PINS) != ids.idempotency_key("e1", "d", PINS)
    assert ids.hex64("one.v1", {"a": 1}) != ids.hex64("one.v2", {"a": 1})


def test_parts_can_t_be_shifted_into_each_other() -> None:
    assert ids.case_trigger_id("a", "b", "c") != ids.case_trigger_id("ab", "", "c")


GOLDEN = {
    "decision_id": "c09696ccb0e338b0f4af91992222e9ea",
    "decision_event_id": "cbc89acac01d00fab8d690e9dba21879f0cf3c668122b0baf250a27088cff818",
    "intent_event_id": "d572727a7370e4e5d9575e05f977b107e63669f66179d69a2c314a7d981b77a1",
    "idempotency_key": "d3a951de70ff0d13d6849c8898cabd3f39bcd91058711ee6be0a893967854254",
    "outcome_id": "6bae711c9edb6f9ed4701a8b8cf9f21f",
    "audit_id": "904e356fbef3667cdb4f4fc9b0f1cf22",
    "case_id": "cc57a55f2efbfc5322f81709468bf83d",
    "case_trigger_id": "68447c22d0291c5bc9be6ec855206738",
    "label_assertion_id": "adf594a42f962b2875a387ed94d0de2c",
}
