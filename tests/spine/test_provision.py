"""Topics from the catalogue: what differs is named, what can be mended is mended, and a partition count never is."""

import secrets

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from laws.topics import TOPICS, TRAFFIC
from spine.deadline import Deadline
from spine.provision import ChangeKind, apply, plan
from testkit.engines import EngineSet


async def test_plan_apply_and_drift(engines: EngineSet) -> None:
    options = {"bootstrap_servers": engines.endpoints.kafka_bootstrap}
    prefix = f"p{secrets.token_hex(4)}."
    planned = await plan(options, TOPICS, prefix)
    assert [change.kind for change in planned] == [ChangeKind.CREATE] * len(TOPICS)
    await apply(options, TOPICS, prefix)
    assert await plan(options, TOPICS, prefix) == []
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    drifted = ConfigResource(ConfigResourceType.TOPIC, prefix + TRAFFIC.name, configs={"retention.ms": "1000", "cleanup.policy": "delete"})
    await admin.alter_configs([drifted])
    await admin.close()
    # A broker takes a changed setting a moment after it has acknowledged it.
    deadline = Deadline(20)
    while not (drift := await plan(options, TOPICS, prefix)):
        deadline.check("the drift to be seen")
    assert (prefix + TRAFFIC.name, "retention.ms") in {(change.topic, change.field) for change in drift}
    assert {change.kind for change in drift} == {ChangeKind.SET_CONFIG}
    await apply(options, TOPICS, prefix)
    while await plan(options, TOPICS, prefix):
        deadline.check("the drift to be mended")


async def test_another_partition_count_is_refused_before_anything_is_done(engines: EngineSet) -> None:
    options = {"bootstrap_servers": engines.endpoints.kafka_bootstrap}
    prefix = f"p{secrets.token_hex(4)}."
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    await admin.create_topics([NewTopic(prefix + TRAFFIC.name, 4, 1)])
    await admin.close()
    with pytest.raises(RuntimeError, match="has 4 partitions, the catalogue says 6"):
        await apply(options, TOPICS, prefix)
    kinds = {change.kind for change in await plan(options, TOPICS, prefix) if change.topic != prefix + TRAFFIC.name}
    assert kinds == {ChangeKind.CREATE}
