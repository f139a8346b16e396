"""Apache Kafka in KRaft mode: broker and controller in one JVM."""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from testkit.engines._deadline import Deadline
from testkit.engines._engine import HOST, Kind, run
from testkit.engines._java import JavaEngine

HEAP_MB = 512
PROBE_MS = 5_000

_CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
# A topic that nobody declared is a mistake in a name, not a wish.
auto.create.topics.enable=false
# One broker: with the default of three the internal topics could never be made.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# 50 partitions each by default: 50 folders and files that a single consumer group waits for.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
# The first member of a group would wait 3 s for others.
group.initial.rebalance.delay.ms=0
# After a kill the controller refuses the returning broker until its old session ends: 9 s by default. At 2 s two busy cores fence a
# living broker now and then, which shows its clients a cluster without brokers.
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
# A controller without followers that it could time out has nobody to tell twice a second that nothing changed.
metadata.max.idle.interval.ms=0
# Worlds carry their own time: a record older than the retention would be deleted with no error.
log.retention.ms=-1
# Two cores: the defaults are 8 + 3 + 10 threads, 128 MB of buffer for the cleaner and 10 MB for each index file.
num.io.threads=4
num.network.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
"""


class Kafka(JavaEngine):
    kind = Kind.KAFKA
    port_count = 2  # clients; controller

    @property
    def endpoint(self) -> str:
        return f"{HOST}:{self.port}"

    def prepare(self, deadline: Deadline) -> None:
        config, data = self.home / "server.properties", self.home / "data"
        config.write_text(_CONFIG.format(host=HOST, port=self.port, controller_port=self.ports[1], data=data))
        if not (data / "meta.properties").exists():
            # A new cluster has a new id: coordinates of an earlier one must not alias.
            # The leading letter: an id that begins with '-' would read as an option.
            cluster_id = "f" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]
            tool = self.java("kafka.tools.StorageTool", heap_mb=128, options=self.archive_options())
            run("kafka: format", [*tool, "format", "-t", cluster_id, "-c", str(config)], deadline, cwd=self.home)

    def argv(self) -> list[str]:
        return [*self.java("kafka.Kafka", heap_mb=HEAP_MB, options=self.archive_options()), str(self.home / "server.properties")]

    def answers(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=PROBE_MS / 1000).close()
        except OSError:
            return False
        return asyncio.run(self._serves())

    async def _serves(self) -> bool:
        """Whether the controller would create a topic, and the coordinator of consumer groups answers."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.endpoint, request_timeout_ms=PROBE_MS)
        try:
            await admin.start()
            created = await admin.create_topics([NewTopic("readiness", 1, 1)], validate_only=True)
            if any(code != 0 for _, code, *_ in created.topic_errors):
                return False
            # Right after the start it answers 'not available' for a moment; asking here keeps that moment away from the clients.
            await admin.list_consumer_group_offsets("readiness")
        except (KafkaError, OSError):
            return False
        finally:
            await admin.close()
        return True
