"""Real engines on one machine: Kafka, PostgreSQL and DynamoDB Local out of wheels and jars.

    with start() as engines:
        engines.endpoints.kafka_bootstrap

They end with the process that started them, however it ends. up() keeps a set for reuse by later processes.
"""

from testkit.engines._deadline import Deadline, DeadlineExceededError
from testkit.engines._engine import Kind
from testkit.engines._errors import EngineError
from testkit.engines._handle import Handle
from testkit.engines._set import ALL, Endpoints, EngineSet, start
from testkit.engines._shared import attached, borrowed, down, up

__all__ = [
    "ALL",
    "Deadline",
    "DeadlineExceededError",
    "Endpoints",
    "EngineError",
    "EngineSet",
    "Handle",
    "Kind",
    "attached",
    "borrowed",
    "down",
    "start",
    "up",
]
