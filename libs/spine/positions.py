"""Where a lane stands on its topics: what the store says, held against what the cluster says (runtime.md, Rules)."""

from collections.abc import Callable

from aiokafka import AIOKafkaConsumer

from laws.reasons import Reason
from laws.topics import Topic
from spine.bus import BusError, TopicIdentity
from spine.handovers import HandoverEvent
from spine.intake import Position, check_identity, start_offset
from spine.lanes import LaneSpec, group_topics
from spine.outcome import Fence
from spine.runtime import Runtime
from spine.steps import Step, reached

# A topic that is deleted and made again restarts at offset 0 under the same name. No batch is applied on an identity older than this.
_IDENTITY_AGE = 0.25

_POSITIONS = "SELECT topic, partition, cluster_id, topic_id, next_offset FROM lane_position WHERE lane = $1"

_BEGIN_POSITION = """
INSERT INTO lane_position (topic, partition, lane, cluster_id, topic_id, start_offset, next_offset)
SELECT $4, $5, $1, $6, $7, $8, $8 FROM (SELECT 1 FROM lane WHERE lane = $1 AND epoch = $2 AND token = $3 FOR UPDATE) AS mine
"""


class Positions:
    """One owner's view of one lane."""

    def __init__(self, runtime: Runtime, spec: LaneSpec, fence: Fence, note: Callable[[HandoverEvent, str], None]) -> None:
        """`note` is told where the lane begins."""
        self._rt = runtime
        self._spec = spec
        self._fence = fence
        self._note = note
        self._topics = group_topics(spec.group)
        self.found: list[Position] = []
        """As `stand` found them."""

    async def stand(self, consumer: AIOKafkaConsumer) -> list[Position]:
        """A position for each topic; written where the lane never stood. Raises BusError where a name means another topic than it did."""
        rows = {row["topic"]: row for row in await self._rt.pool.fetch(_POSITIONS, self._spec.lane)}
        identities = await self._identities(age=0.0)
        found = []
        for topic in self._topics:
            now = identities.get(topic.name)
            row = rows.get(topic.name)
            if row is None:
                position = await self._begin(consumer, topic, now)
            else:
                stored = TopicIdentity(row["cluster_id"], row["topic_id"], topic.partitions)
                position = Position(topic, row["partition"], stored, row["next_offset"])
            check_identity(position, now)
            found.append(position)
            reached(Step.POSITIONED)
        self.found = found
        return found

    async def stored(self) -> dict[str, int]:
        """{topic: next offset}, as the store says now."""
        return {row["topic"]: row["next_offset"] for row in await self._rt.pool.fetch(_POSITIONS, self._spec.lane)}

    async def check(self) -> None:
        """Raises BusError where a topic, or the cluster, is not the one any more on which the lane stands."""
        identities = await self._identities(_IDENTITY_AGE)
        for position in self.found:
            check_identity(position, identities.get(position.topic.name))

    async def _begin(self, consumer: AIOKafkaConsumer, topic: Topic, now: TopicIdentity | None) -> Position:
        name, home = topic.name, self._spec.home
        if now is None:
            raise BusError(Reason.TOPIC_CHANGED, f"topic {name} does not exist: provision it (fp topics apply)")
        offset = await start_offset(consumer, self._rt.settings.topic_prefix + name, home)
        async with self._rt.pool.acquire() as connection, connection.transaction():
            await connection.execute(_BEGIN_POSITION, self._spec.lane, *self._fence, name, home, now.cluster_id, now.topic_id, offset)
        self._note(HandoverEvent.BEGAN, f"{name}/{home} at offset {offset}")
        return Position(topic, home, now, offset)

    async def _identities(self, age: float) -> dict[str, TopicIdentity]:
        prefix = self._rt.settings.topic_prefix
        found = await self._rt.watch.recent([prefix + topic.name for topic in self._topics], age)
        return {name.removeprefix(prefix): identity for name, identity in found.items()}
