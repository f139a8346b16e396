"""What every lane of a worker shares."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from spine.bus import TopicWatch
from spine.consumers import Consumers
from spine.contention import Contention
from spine.inputs import Decoder
from spine.ownership import Ownership
from spine.scheduled import Scheduled
from spine.service import Service
from spine.settings import Settings
from spine.telemetry import Telemetry
from spine.together import Together
from spine.transaction import Law


@dataclass
class Runtime:
    """Handles and settings of one worker process."""

    service: Service
    settings: Settings
    worker_id: str
    pool: asyncpg.Pool
    producer: AIOKafkaProducer
    watch: TopicWatch
    bus_options: dict[str, Any]
    consumers: Consumers
    law: Law
    decoders: Mapping[str, Decoder]
    scheduled: Mapping[str, Scheduled]
    ownership: Ownership
    telemetry: Telemetry
    task_slots: asyncio.Semaphore
    together: Together
    contention: Contention
    warnings: dict[str, str] = field(default_factory=dict)
    """Why the worker is not ready, by source."""
