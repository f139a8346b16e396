"""Another pack on the recorded history: which decisions flip, and for which rule."""

from collections import Counter
from pathlib import Path

import msgspec

from audit.offline import declared, offline_settings
from audit.replay import replay
from audit.target import Target
from decision_fabric.app import PACK
from laws.catalogue import DECISION_RESPONSE
from laws.contracts.decision import DecisionResponse
from laws.envelope import decode_envelope
from spine.deadline import Deadline
from testkit.chaos.ground import Ground, ground
from testkit.chaos.stream import stream
from testkit.chaos.workers import ForkServer
from testkit.engines import EngineSet
from testkit.workloads.decision_fabric import DecisionFabricWorkload

RULE = "high_amount_step_up"


async def decisions(place: Ground) -> list[DecisionResponse]:
    async with place.site.store("decision_fabric") as store:
        values = [decode_envelope(row["value"]) for row in await store.fetch("SELECT value FROM outbox")]
    decode = msgspec.json.Decoder(DecisionResponse).decode
    return [decode(bytes(value.payload)) for value in values if value.event_type == DECISION_RESPONSE.name]


async def test_the_decisions_that_a_pack_would_flip_are_listed_with_their_rules(engines: EngineSet, tmp_path: Path) -> None:
    server = ForkServer()
    await server.start()
    workload = DecisionFabricWorkload()
    try:
        async with ground(engines.endpoints, server, workload, tmp_path / "place", 3) as place:
            await place.worker().ready(Deadline(60))
            await place.feeder.feed(stream(workload, 3, 120))
            await place.settle()
            await place.end()
            recorded = await decisions(place)
            target = Target(
                dsn=place.site.operator_dsn,
                schema="decision_fabric",
                bus={"bootstrap_servers": engines.endpoints.kafka_bootstrap},
                prefix=place.site.prefix,
            )
            settings = offline_settings()
            same = await replay(target, declared("decision_fabric", settings), settings, flips=True)
            laxer = tmp_path / "laxer.yaml"
            laxer.write_text(PACK.read_text().replace("amount_minor: {at_least: 40000}", "amount_minor: {at_least: 90000}"))
            flips = (await replay(target, declared("decision_fabric", settings, laxer), settings, flips=True)).flips
    finally:
        await server.close()
    assert same.report.ok
    assert (same.flips.decisions, same.flips.flipped) == (len(recorded), 0)
    only_by_it = [found for found in recorded if [hit.rule_id for hit in found.decision.rule_hits] == [RULE]]
    # how many depends on which context was there when each was decided; the counts below must agree whatever it was
    assert only_by_it
    assert flips.kinds == Counter({("STEP_UP", "ALLOW"): len(only_by_it)})
    assert flips.rules_gone == Counter({RULE: len(only_by_it)})
    assert flips.rules_new == Counter()
    assert {flip.source_event_id for flip in flips.first} == {found.source_event.event_id for found in only_by_it}
