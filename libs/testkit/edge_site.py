"""What an edge on this machine needs to be told, and a lawful event to send it: for tests and for measurements alike."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import aiohttp

from spine.deadline import Deadline
from testkit.engines import Endpoints
from testkit.harness import Process

RUN = "platform_20260105T000000Z"
SCENARIO_RUN = "5" * 32
TRAFFIC_TYPE = "s3_event_stream_with_fraud_6B"


def traffic(event_id: str = "", **payload: Any) -> dict[str, Any]:
    """A lawful event of the traffic stream; keyword arguments change its payload."""
    return {
        "event_id": event_id or secrets.token_hex(32),
        "event_type": TRAFFIC_TYPE,
        "ts_utc": "2026-01-05T10:00:00.000000Z",
        "manifest_fingerprint": "1" * 64,
        "parameter_hash": "2" * 64,
        "seed": "42",
        "scenario_id": "baseline_v1",
        "run_id": SCENARIO_RUN,
        "platform_run_id": RUN,
        "scenario_run_id": SCENARIO_RUN,
        "emitted_at_utc": "2026-01-05T10:00:01.000000Z",
        "producer": "wsp",
        "payload": {
            "flow_id": "flow-1",
            "event_seq": 1,
            "event_type": "AUTH_REQUEST",
            "ts_utc": "2026-01-05T10:00:00.000000Z",
            "amount_minor": 1999,
            "currency": "EUR",
        }
        | payload,
    }


def edge_environment(endpoints: Endpoints, name: str, key_hash: str) -> dict[str, str]:
    """The environment of an edge with tables and topics of its own, named after `name`, on engines that others use as well."""
    return {
        "FP_ENV": "local_parity",
        "FP_IG_RELEASE_ID": "local-test",
        "FP_IG_ACTIVE_RUN": RUN,
        "FP_IG_API_KEY_HASHES": key_hash,
        "FP_IG_KAFKA_BOOTSTRAP": endpoints.kafka_bootstrap,
        "FP_IG_KAFKA_SECURITY": "PLAINTEXT",
        "FP_IG_TOPIC_PREFIX": f"{name}.",
        "FP_IG_REGION": "local",
        "FP_IG_DYNAMODB_ENDPOINT": endpoints.dynamodb_endpoint,
        "FP_IG_IDEMPOTENCY_TABLE": f"{name}-idempotency",
        "FP_IG_QUARANTINE_TABLE": f"{name}-quarantine",
        "FP_IG_RATE_PROFILE": "scale",
    }


async def edge_ready(edge: Process, deadline: Deadline) -> None:
    """Returns once an edge says that it is GREEN. Raises DeadlineExceededError, and RuntimeError with its last words where it ended."""
    async with aiohttp.ClientSession() as session:
        while True:
            deadline.check("the edge to be healthy")
            if not edge.alive:
                raise RuntimeError(f"the edge ended:\n{edge.log.read_text(errors='replace')[-2000:]}")
            try:
                async with session.get(f"http://127.0.0.1:{edge.port}/v1/ops/health") as answer:
                    if answer.status == 200 and (await answer.json())["state"] == "GREEN":
                        return
            except (aiohttp.ClientError, json.JSONDecodeError):
                pass  # not listening yet: the deadline bounds this
            await asyncio.sleep(0.05)
