"""The guardrails in use, on the world: few honest customers are held up, and attackers often (domain.md 13.4)."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

import decision_fabric
from decision_fabric.pack import load_pack
from decision_fabric.policy import Fabric
from decision_fabric.store import DECISIONS
from laws.actions import ESCALATING_KINDS
from laws.catalogue import FLOW_ANCHOR, TRAFFIC_EVENT
from laws.contracts.world import FlowAnchor, TrafficEvent
from spine.service import On
from testkit.world import NO_MESS, EdgeSend, FraudKind, RunIds, World, WorldConfig
from tests.services.fake_state import RUN, SCENARIO_RUN, FakeLane, event_of, record

PACK, _ = load_pack(Path(decision_fabric.__path__[0]) / "packs" / "guardrails_v1.yaml")
CONTRACTS = {FLOW_ANCHOR.name: (FLOW_ANCHOR, FlowAnchor), TRAFFIC_EVENT.name: (TRAFFIC_EVENT, TrafficEvent)}


class Played:
    """A world through the handlers, one lane, one transaction an event."""

    def __init__(self, size: int) -> None:
        fabric = Fabric(PACK)
        doors = {
            FLOW_ANCHOR.name: On(FLOW_ANCHOR, fabric.on_anchor, fabric.anchor_reads),
            TRAFFIC_EVENT.name: On(TRAFFIC_EVENT, fabric.on_traffic, fabric.traffic_reads, fabric.traffic_reads_then),
        }
        world = World(WorldConfig(seed=7, size=size, mess=NO_MESS), RunIds(RUN, SCENARIO_RUN))
        lane = FakeLane()
        for step in world:
            if not isinstance(step, EdgeSend) or step.event_type not in doors or step.identity is None:
                continue
            if step.event_type == TRAFFIC_EVENT.name and not step.is_trigger:
                continue
            event_type, contract = CONTRACTS[step.event_type]
            body = msgspec.convert(msgspec.json.decode(step.envelope)["payload"], contract)
            lane.run(record(doors[step.event_type], event_of(event_type, step.identity.event_id, body, ts_utc=body.ts_utc)))
        self.waiting = len(lane.waits)
        self.decided = [(row.action_kind, world.truth.truth_of(row.flow_id).kind) for row in lane.store.all(DECISIONS)]

    def share(self, kinds: set[FraudKind]) -> float:
        """Share of the flows of these kinds that were escalated."""
        chosen = Counter(action in ESCALATING_KINDS for action, kind in self.decided if kind in kinds)
        return chosen[True] / chosen.total()


@pytest.fixture(scope="module")
def played() -> Played:
    return Played(50_000)


def test_every_trigger_of_a_world_with_all_its_context_is_decided(played: Played) -> None:
    assert played.waiting == 0
    assert len(played.decided) > 8_000


def test_one_to_four_in_a_hundred_flows_are_escalated(played: Played) -> None:
    escalated = sum(action in ESCALATING_KINDS for action, _ in played.decided)
    assert 0.01 <= escalated / len(played.decided) <= 0.04
    assert played.share({FraudKind.NONE}) < 0.02


def test_card_testing_is_caught_and_every_kind_of_burst_more_than_honest_flows(played: Played) -> None:
    assert played.share({FraudKind.CARD_TESTING}) > 0.4
    campaigns = {FraudKind.ATO, FraudKind.PROMO_FRAUD, FraudKind.CARD_TESTING}
    assert played.share(campaigns) > 10 * played.share({FraudKind.NONE})
