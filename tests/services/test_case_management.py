"""An assertion writes in its case's own trace; triggers of one transaction count as if each had its own (domain.md 8.4, 8.5)."""

import msgspec

from case_management.app import build
from case_management.policy import LABEL_SUBMIT, on_trigger, trigger_reads
from case_management.store import CASES, LABEL_EMISSIONS, TIMELINE
from laws.catalogue import CASE_ASSERTION, CASE_TRIGGER
from laws.contracts.case import CaseTrigger
from spine.service import Answer, Append, Attempt, Call, Cause, On, Put
from tests.services import facts
from tests.services.bench import Bench, settings
from tests.services.fake_state import FakeLane, event_of, record

DOOR = On(CASE_TRIGGER, on_trigger, trigger_reads)


def test_everything_that_an_assertion_writes_continues_the_first_trigger() -> None:
    bench = Bench(build(settings()))
    for number in (1, 2):
        bench.record(CASE_TRIGGER, f"t{number}", facts.trigger(ref=f"decision:{number}"))
    effects = bench.command(CASE_ASSERTION, "a1", facts.assertion(), facts.ANALYST, trace="of the analyst")
    written = [effect for effect in effects if isinstance(effect, Append | Put | Call)]
    assert [type(effect) for effect in written] == [Append, Append, Put, Call]
    (case,) = bench.rows(CASES)
    assert {effect.cause for effect in written} == {msgspec.msgpack.decode(case.cause, type=Cause)}
    assert {effect.cause.correlation.event_id for effect in written if effect.cause} == {"t1"}


def test_a_label_that_was_given_up_tells_how_often_it_was_tried() -> None:
    bench = Bench(build(settings()))
    bench.record(CASE_TRIGGER, "t1", facts.trigger())
    bench.command(CASE_ASSERTION, "a1", facts.assertion(), facts.ANALYST)
    ((call, cause),) = bench.calls
    bench.answer(LABEL_SUBMIT, Answer(call.ref, "EXHAUSTED", call.request, (Attempt("RETRY", "503"),) * 3, cause))
    assert [(row.status, row.attempts) for row in bench.rows(LABEL_EMISSIONS)] == [("REJECTED", 3)]


def test_triggers_of_one_transaction_open_one_case_as_they_do_one_by_one() -> None:
    payloads = [facts.trigger(kind, f"{kind}:1") for kind in ("EXTERNAL_SIGNAL", "ACTION_FAILURE", "EXTERNAL_SIGNAL")]
    payloads[2] |= {"source_ref_id": "external:2", "observed_time": "2025-12-31T00:00:00.000000Z"}
    inputs = [
        record(DOOR, event_of(CASE_TRIGGER, f"t{number}", msgspec.convert(payload, CaseTrigger))) for number, payload in enumerate(payloads)
    ]
    together, apart = FakeLane(), FakeLane()
    together.run(*inputs)
    for item in inputs:
        apart.run(item)
    (case,) = together.store.all(CASES)
    assert (case.trigger_count, case.trigger_types) == (3, "ACTION_FAILURE,EXTERNAL_SIGNAL")
    assert case.first_observed_time == "2025-12-31T00:00:00.000000Z"
    assert [case] == apart.store.all(CASES)
    assert together.store.all(TIMELINE) == apart.store.all(TIMELINE)
    assert len(together.store.all(TIMELINE)) == 3
