"""The service of docs/add_a_service.md runs as it stands there, and is as short as the page says."""

from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaProducer

from laws.canonical import JsonInput, canonical_json
from laws.catalogue import TRAFFIC_EVENT
from laws.envelope import encode_envelope
from laws.headers import Correlation, Provenance
from laws.topics import TRAFFIC
from refund_watch.app import build
from spine.deadline import Deadline
from spine.tokens import issue
from testkit.engines import EngineSet
from testkit.harness import PLATFORM_RUN, Site, new_site, worker_process

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
INSTANT = "2026-01-05T00:00:00.000000Z"


async def publish(site: Site, bootstrap: str, event_id: str, kind: str, amount: int) -> None:
    payload: dict[str, JsonInput] = {
        "flow_id": "42",
        "event_seq": 1,
        "event_type": kind,
        "ts_utc": INSTANT,
        "amount_minor": amount,
        "currency": "EUR",
    }
    fields = {
        "event_id": event_id,
        "event_type": TRAFFIC_EVENT.name,
        "ts_utc": INSTANT,
        "manifest_fingerprint": "b" * 64,
        "parameter_hash": "c" * 64,
        "seed": "7",
        "scenario_id": "baseline",
        "run_id": "a" * 32,
        "platform_run_id": PLATFORM_RUN,
        "scenario_run_id": "a" * 32,
    }
    key = TRAFFIC.key.key_of(event_id, payload)
    assert key is not None
    correlation = Correlation(f"00-{'1' * 32}-{'2' * 16}-00", "", PLATFORM_RUN, "a" * 32, "P6", event_id, "ig")
    headers = [*correlation.headers(), *Provenance("p", "b", "c", "r").headers()]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    value = encode_envelope(fields, canonical_json(payload))
    await producer.send_and_wait(site.prefix + TRAFFIC.name, value, key=key, partition=TRAFFIC.partition(key), headers=headers)
    await producer.stop()


async def test_the_example_service_runs_and_is_short(engines: EngineSet, tmp_path: Path) -> None:
    lines = [line for path in (EXAMPLES / "refund_watch").glob("*.py") for line in path.read_text().splitlines()]
    assert len(lines) < 100
    site = await new_site(engines.endpoints)
    await site.topics([TRAFFIC])
    site.passwords["refund_watch"] = "secret"
    await site.install(build(site.settings("refund_watch")))
    worker = worker_process(site, "refund_watch", "refund_watch", tmp_path, environment={"PYTHONPATH": str(EXAMPLES)})
    worker.start()
    await worker.ready(Deadline(30))
    for event_id, kind, amount in (("r1", "REFUND", 5), ("r2", "REFUND", 7), ("r2", "REFUND", 7), ("a1", "AUTH_REQUEST", 100)):
        await publish(site, engines.endpoints.kafka_bootstrap, event_id, kind, amount)
    url = f"http://127.0.0.1:{worker.port}/v1/refunds/{PLATFORM_RUN}/42"
    headers = {"authorization": f"Bearer {issue(site.token_secret, 'HUMAN::reader')}"}
    deadline = Deadline(30)
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(url, headers=headers) as answer:
                said = await answer.json()
            if said.get("refunds") == 2:
                break
            deadline.check(f"two refunds to be counted, the answer is {said}")
    assert said == {"refunds": 2, "amount_minor": 12}
    worker.terminate()
    assert await worker.ended(Deadline(20)) == 0
