"""How long single requests wait at a rate: `python -m tests.ingress.latency --rates 200,400 --seconds 15 --sandboxes 0`.

An open loop: requests go out when they are due, not when answers come, and a request's time counts from when it was due. Rows in memory
beside rows in DynamoDB Local show the emulator's share.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from ingress.tables import ensure_tables
from laws.topics import TOPICS
from spine.provision import apply
from testkit.engines import borrowed
from tests.ingress.http import EdgeProcess
from tests.ingress.rig import Site, dummy_credentials, traffic

_WARM_UP_S = 2.0


async def measure(process: EdgeProcess, rate: float, seconds: float) -> list[float]:
    """Milliseconds of every request that was due after the warm-up, sorted. Raises AssertionError for one that was not admitted."""
    times: list[float] = []
    begins = time.perf_counter()

    async def one(due: float, body: bytes) -> None:
        answer = await process.push(body)
        assert answer.status == 202, answer.body
        if due > begins + _WARM_UP_S:
            times.append((time.perf_counter() - due) * 1000)

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * (seconds + _WARM_UP_S))):
            due = begins + number / rate
            body = json.dumps(traffic(flow_id=f"flow-{number // 4}")).encode()
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            group.create_task(one(due, body))
    return sorted(times)


async def _main(arguments: argparse.Namespace) -> None:
    dummy_credentials()
    with borrowed() as engines, tempfile.TemporaryDirectory() as folder:
        site = Site(engines.endpoints)
        settings = site.settings()
        await ensure_tables(settings.dynamodb_url, settings.region, settings.idempotency_table, settings.quarantine_table)
        await apply({"bootstrap_servers": site.endpoints.kafka_bootstrap}, TOPICS, site.prefix)
        for table in ("memory", "dynamodb"):
            sandboxes = "0" if table == "memory" else str(arguments.sandboxes)
            for rate in arguments.rates.split(","):
                async with EdgeProcess(site, Path(folder), "--sandboxes", sandboxes, FP_IG_TABLE=table) as process:
                    times = await measure(process, float(rate), arguments.seconds)
                p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
                sys.stdout.write(f"rows in {table:9} {rate:>5} rps, {len(times):>6} requests: p50 {p50:6.1f} ms, p99 {p99:6.1f} ms\n")
                sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.ingress.latency", description=__doc__)
    parser.add_argument("--rates", default="200,400")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--sandboxes", type=int, default=0)
    asyncio.run(_main(parser.parse_args()))
