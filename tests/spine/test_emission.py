"""What is emitted carries everything that it must, or is not emitted (authority.md 5.1.1 item 12, 7.5)."""

import msgspec
import pytest

from laws.headers import Provenance, missing_headers
from ledger.service import POSTED_EVENT, Posted
from rig import correlation
from spine.emission import HEADERS_DECODER, Emitter
from spine.service import Cause, Emit

CAUSE = Cause(correlation("e1"), "b" * 64, "c" * 64, "7", "baseline", "2026-01-05T00:00:00.000000Z")
EMIT = Emit(POSTED_EVENT, "p1", Posted("a", "e1", 1, "entry"))
AT = "2026-01-05T00:00:01.000000Z"


def emitter(**changes: str) -> Emitter:
    provenance = Provenance("policy", "bundle", "config", "release")._replace(**changes)
    return Emitter("ledger", "df", "P6", provenance)


def test_an_output_has_every_required_header_and_the_same_bytes_each_time() -> None:
    row = emitter().row(EMIT, CAUSE, AT)
    assert missing_headers(dict(HEADERS_DECODER.decode(row.headers))) == ()
    assert emitter().row(EMIT, CAUSE, AT) == row


@pytest.mark.parametrize("field", ["policy_rev", "bundle_id", "config_digest", "release_id"])
def test_without_its_provenance_an_output_is_not_published(field: str) -> None:
    with pytest.raises(ValueError, match=field.replace("_", "-")):
        emitter(**{field: ""}).row(EMIT, CAUSE, AT)


def test_without_its_run_an_output_is_not_published() -> None:
    bare = msgspec.structs.replace(CAUSE, correlation=CAUSE.correlation._replace(scenario_run_id=""))
    with pytest.raises(ValueError, match="x-fp-scenario-run-id"):
        emitter().row(EMIT, bare, AT)


def test_a_command_or_another_contract_is_not_published() -> None:
    with pytest.raises(ValueError, match="contract Posted"):
        emitter().row(Emit(POSTED_EVENT, "p1", CAUSE), CAUSE, AT)


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(CAUSE, manifest_fingerprint="d" * 64),
        msgspec.structs.replace(CAUSE, parameter_hash=None),
        msgspec.structs.replace(CAUSE, seed="8"),
        msgspec.structs.replace(CAUSE, scenario_id=None),
        msgspec.structs.replace(CAUSE, correlation=correlation("e1", "platform_20260106T000000Z")),
        msgspec.structs.replace(CAUSE, correlation=CAUSE.correlation._replace(scenario_run_id="b" * 32)),
        msgspec.structs.replace(CAUSE, correlation=CAUSE.correlation._replace(tracestate="a=1")),
        msgspec.structs.replace(CAUSE, correlation=correlation("e2"), ts_utc="2026-01-05T00:00:00.000001Z"),
    ],
)
def test_what_an_emitter_remembers_of_one_cause_is_said_of_no_other(other: Cause) -> None:
    used = emitter()
    rows = [used.row(EMIT, cause, AT) for cause in (CAUSE, other, CAUSE)]
    assert rows == [emitter().row(EMIT, cause, AT) for cause in (CAUSE, other, CAUSE)]
    assert rows[0] != rows[1]
