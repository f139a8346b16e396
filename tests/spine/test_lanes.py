"""Which lanes a declaration makes, and which declarations are refused by name."""

from pathlib import Path
from typing import Any

import pytest

from laws.catalogue import ARRIVAL_EVENT, EXTERNAL_SIGNAL, FLOW_ANCHOR, TRAFFIC_EVENT, EventType
from spine.lanes import lane_specs
from spine.service import LaneGroup, On, Service


def _never(*_: Any) -> Any:
    raise AssertionError("a declaration calls no handler")


def _group(name: str, *types: EventType, local_lanes: int | None = None) -> LaneGroup:
    return LaneGroup(name, doors=tuple(On(t, _never) for t in types), local_lanes=local_lanes)


def _service(*groups: LaneGroup) -> Service:
    return Service("svc", "df", "p.v1", {}, groups, Path())


def test_lanes_are_partitions_and_groups_do_not_run_into_each_other() -> None:
    flow, local = _group("flow", TRAFFIC_EVENT, FLOW_ANCHOR), _group("local", local_lanes=2)
    found = [(spec.lane, spec.group.name, spec.home) for spec in lane_specs(_service(flow, local))]
    assert found == [*[(n, "flow", n) for n in range(6)], (1000, "local", 0), (1001, "local", 1)]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([_group("mixed", TRAFFIC_EVENT, ARRIVAL_EVENT)], "mixed.*differ in key recipe"),
        ([_group("commanded", EXTERNAL_SIGNAL)], "commanded.*external_signal travels on no topic"),
        ([_group("idle")], "idle.*set local_lanes"),
        ([_group("both", TRAFFIC_EVENT, local_lanes=3)], "both.*drop local_lanes=3"),
        ([_group("twice", local_lanes=1), _group("twice", local_lanes=1)], "svc.*not distinct"),
    ],
)
def test_an_unlawful_declaration_is_refused_by_name(groups: list[LaneGroup], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lane_specs(_service(*groups))
