"""Which lanes a service has (runtime.md, The lane)."""

from typing import NamedTuple

from laws.topics import Topic
from spine.service import LaneGroup, Service

# Lane numbers are stored for ever; a group's lanes start at its index times this, so that no group can grow into the next.
GROUP_STRIDE = 1000


class LaneSpec(NamedTuple):
    """One lane: its number, its group, and its home (the partition, or the number of the local lane)."""

    lane: int
    group: LaneGroup
    home: int


def group_topics(group: LaneGroup) -> tuple[Topic, ...]:
    """The group's topics, in the order in which a batch applies them."""
    topics: dict[str, Topic] = {}
    for door in group.doors:
        if door.event_type.topic is None:
            raise ValueError(f"group {group.name}: {door.event_type.name} travels on no topic; declare it as a Command")
        topics.setdefault(door.event_type.topic.name, door.event_type.topic)
    return tuple(topics.values())


def lane_count(group: LaneGroup) -> int:
    """Number of lanes. Raises ValueError where the group's topics could not share lanes."""
    topics = group_topics(group)
    if not topics:
        if not group.local_lanes:
            raise ValueError(f"group {group.name} reads no topic: set local_lanes to the number of its lanes")
        return group.local_lanes
    if group.local_lanes is not None:
        raise ValueError(f"group {group.name} reads topics: its lanes are their partitions; drop local_lanes={group.local_lanes}")
    # Different recipes or counts would send one key to two lanes: two locks, two orders.
    if len({(topic.key, topic.partitions) for topic in topics}) > 1:
        raise ValueError(f"group {group.name}: {[topic.name for topic in topics]} differ in key recipe or partition count")
    return topics[0].partitions


def lane_specs(service: Service) -> tuple[LaneSpec, ...]:
    """Every lane of a service. Raises ValueError for a declaration that breaks a rule."""
    names = [group.name for group in service.groups]
    if len(set(names)) != len(names):
        raise ValueError(f"service {service.name}: group names {names} are not distinct")
    return tuple(
        LaneSpec(index * GROUP_STRIDE + home, group, home)
        for index, group in enumerate(service.groups)
        for home in range(lane_count(group))
    )
