"""The schema policy as files, what may follow what, and that the edge says the same (domain.md 2.13)."""

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from ingress.compatibility import breaks
from ingress.inspection import Candidate, Refused, inspect
from ingress.policy import DOORS, LEAK_PREFIXES
from ingress.released import FOLDER
from ingress.schema_files import files
from laws.catalogue import EVENT_TYPES
from laws.contracts.world import LEAK_FIELDS
from tests.ingress.messy import PAYLOADS
from tests.ingress.rig import RUN, traffic

VALUES: tuple[Any, ...] = (-1, "", "x" * 2000, True, [], {}, 2**53, "2026-01-05T10:00:00.000000Z")
SCHEMAS = sorted(name for name in files() if "/" in name)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_contract_follows_its_released_schema_additively(name: str) -> None:
    """What fails here needs a version of its own; what is additive needs `python -m ingress.schema_files`."""
    released, ours = json.loads((FOLDER / name).read_text()), json.loads(files()[name])
    assert breaks(released, ours) == []


def test_the_files_say_what_the_code_does() -> None:
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.json")} == set(files())
    for name, content in files().items():
        assert (FOLDER / name).read_text() == content, f"{name}: run python -m ingress.schema_files"
    assert {name.partition("/")[0] for name in SCHEMAS} == set(EVENT_TYPES)


def edited(**changes: Any) -> dict[str, Any]:
    schema: dict[str, Any] = copy.deepcopy(json.loads((FOLDER / "s3_event_stream_with_fraud_6B/v0.json").read_text()))
    schema["$defs"]["TrafficEvent"] |= changes
    return schema


OLD = edited()
PROPERTIES = OLD["$defs"]["TrafficEvent"]["properties"]
REQUIRED = OLD["$defs"]["TrafficEvent"]["required"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"properties": {k: v for k, v in PROPERTIES.items() if k != "flow_id"}}, "is gone"),
        ({"properties": PROPERTIES | {"x": {"type": "string"}}, "required": [*REQUIRED, "x"]}, "is required now"),
        ({"required": ["flow_id"]}, "no longer promised"),
        ({"properties": PROPERTIES | {"amount_minor": {"type": "string"}}}, "no longer takes integer"),
        ({"properties": PROPERTIES | {"amount_minor": PROPERTIES["amount_minor"] | {"maximum": 5}}}, "maximum is 5"),
        ({"properties": PROPERTIES | {"amount_minor": PROPERTIES["amount_minor"] | {"minimum": 1}}}, "minimum is 1"),
        ({"properties": PROPERTIES | {"currency": PROPERTIES["currency"] | {"pattern": "^EUR$"}}}, "another pattern"),
        ({"properties": PROPERTIES | {"flow_id": PROPERTIES["flow_id"] | {"maxLength": 8}}}, "maxLength is 8"),
        ({"properties": PROPERTIES | {"event_type": {"enum": ["AUTH_REQUEST"]}}}, "no longer takes"),
    ],
)  # fmt: skip
def test_what_breaks_is_named(change: dict[str, Any], word: str) -> None:
    found = breaks(OLD, edited(**change))
    assert found
    assert any(word in line for line in found), found


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"properties": PROPERTIES | {"note": {"anyOf": [{"type": "string"}, {"type": "null"}]}}},
        {"properties": PROPERTIES | {"amount_minor": PROPERTIES["amount_minor"] | {"maximum": 2**50}}},
        {"properties": {name: schema for name, schema in PROPERTIES.items() if name != "event_type"}
         | {"event_type": {"enum": ["AUTH_REQUEST", "AUTH_RESPONSE", "STEP_UP_CHALLENGE", "STEP_UP_COMPLETE", "CLEARING", "REFUND",
                                    "REVERSAL", "CHARGEBACK"]}}},
    ],
)  # fmt: skip
def test_what_adds_may_follow(change: dict[str, Any]) -> None:
    assert breaks(OLD, edited(**change)) == []


@pytest.mark.parametrize("event_type", sorted(DOORS))
def test_the_edge_and_the_files_agree_on_payloads(event_type: str) -> None:
    validator = Draft202012Validator(json.loads((FOLDER / f"{event_type}/v0.json").read_text()))
    payload = PAYLOADS[event_type]
    payloads = [
        payload,
        *({**payload, name: None} for name in payload),
        *({k: v for k, v in payload.items() if k != name} for name in payload),
    ]
    payloads += [{**payload, "unknown": 1}, {**payload, "ts_utc": "2026-01-05"}]
    payloads += [{**payload, name: value} for name in payload for value in VALUES]
    for changed in payloads:
        judged = inspect(json.dumps(traffic() | {"event_type": event_type, "payload": changed}).encode(), RUN)
        assert isinstance(judged, Candidate) == validator.is_valid(changed), changed


@pytest.mark.parametrize("column", [*sorted(LEAK_FIELDS), *(f"{prefix}flow_truth_labels" for prefix in LEAK_PREFIXES)])
@pytest.mark.parametrize("event_type", sorted(DOORS))
def test_a_leak_column_is_refused_by_policy_and_never_passed_on(event_type: str, column: str) -> None:
    event = traffic() | {"event_type": event_type, "payload": PAYLOADS[event_type] | {column: "x"}}
    refused = inspect(json.dumps(event).encode(), RUN)
    assert isinstance(refused, Refused)
    assert (refused.reasons, refused.detail.field) == (("SCHEMA_FAIL",), f"payload.{column}")
    assert "strip them at the source" in refused.detail.advice
    written = json.loads((FOLDER / "policy.json").read_text())["leak_columns"]
    assert column in written["columns"] or column.startswith(tuple(written["prefixes"]))


def test_an_unknown_type_is_refused() -> None:
    refused = inspect(json.dumps(traffic() | {"event_type": "s9_unheard_of"}).encode(), RUN)
    assert isinstance(refused, Refused)
    assert refused.reasons == ("SCHEMA_POLICY_MISSING",)
