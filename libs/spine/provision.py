"""Topics from the catalogue: plan, apply, diff (authority.md appendix C).

Partition counts never change; a difference is named, not mended.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from laws.topics import Topic
from spine.bus import TopicWatch

_DAY_MS = 24 * 60 * 60 * 1000

# The edge takes bodies up to 1 MiB; with envelope and headers a record is a little larger.
_MAX_RECORD_BYTES = 2 * 1024 * 1024


class ChangeKind(StrEnum):
    """What provisioning would do, or can't."""

    CREATE = "CREATE"
    SET_CONFIG = "SET_CONFIG"
    CONFLICT = "CONFLICT"


class Change(NamedTuple):
    """One difference between the catalogue and the cluster."""

    kind: ChangeKind
    topic: str
    field: str
    wanted: str
    found: str


def wanted_config(topic: Topic) -> dict[str, str]:
    """Broker settings of a topic. Deleted by age only: the log is the evidence, it is never compacted."""
    return {
        "retention.ms": str(topic.retention_days * _DAY_MS),
        "cleanup.policy": "delete",
        "max.message.bytes": str(_MAX_RECORD_BYTES),
        "message.timestamp.type": "CreateTime",
    }


async def plan(options: dict[str, Any], topics: Sequence[Topic], prefix: str = "") -> list[Change]:
    """Every difference between `topics` and the cluster; empty when there is none."""
    watch = TopicWatch(options)
    admin = AIOKafkaAdminClient(**options)
    await watch.start()
    await admin.start()
    try:
        found = await watch.identities([prefix + topic.name for topic in topics])
        present = [topic for topic in topics if prefix + topic.name in found]
        configs = await _configs(admin, [prefix + topic.name for topic in present])
    finally:
        await admin.close()
        await watch.stop()
    changes = [
        Change(ChangeKind.CREATE, prefix + topic.name, "partitions", str(topic.partitions), "0") for topic in topics if topic not in present
    ]
    for topic in present:
        name = prefix + topic.name
        if found[name].partitions != topic.partitions:
            changes.append(Change(ChangeKind.CONFLICT, name, "partitions", str(topic.partitions), str(found[name].partitions)))
        changes += [
            Change(ChangeKind.SET_CONFIG, name, field, value, configs[name].get(field, ""))
            for field, value in wanted_config(topic).items()
            if configs[name].get(field) != value
        ]
    return changes


async def apply(options: dict[str, Any], topics: Sequence[Topic], prefix: str = "", replication: int = 1) -> list[Change]:
    """Make the cluster as the catalogue says; what was done. Raises RuntimeError, before anything is done, where a count differs."""
    changes = await plan(options, topics, prefix)
    if conflicts := [change for change in changes if change.kind is ChangeKind.CONFLICT]:
        raise RuntimeError(
            "; ".join(f"{c.topic} has {c.found} partitions, the catalogue says {c.wanted}" for c in conflicts)
            + ": counts never change, because every key would get another home; make a new topic version instead"
        )
    by_name = {prefix + topic.name: topic for topic in topics}
    create = [change.topic for change in changes if change.kind is ChangeKind.CREATE]
    configure = sorted({change.topic for change in changes if change.kind is ChangeKind.SET_CONFIG})
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    try:
        if create:
            response = await admin.create_topics(
                [NewTopic(name, by_name[name].partitions, replication, topic_configs=wanted_config(by_name[name])) for name in create]
            )
            _check(response.topic_errors)
        if configure:
            answers = await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name, configs=wanted_config(by_name[name])) for name in configure]
            )
            _check([(entry[3], entry[0], entry[1]) for answer in answers for entry in answer.resources])
    finally:
        await admin.close()
    return changes


def _check(errors: Sequence[tuple[Any, ...]]) -> None:
    for name, code, *detail in errors:
        error = for_code(code)
        # Somebody else applied the same catalogue at the same time: the wish is fulfilled.
        if code and error is not TopicAlreadyExistsError:
            raise error(f"{name}: {detail}")


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {resource[3]: {entry[0]: entry[1] for entry in resource[4]} for answer in answers for resource in answer.resources}
