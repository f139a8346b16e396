"""What one event costs the edge, in CPU: whole requests, and step by step: `python -m tests.ingress.cost`.

Whole requests go through the edge's own code to a real broker, with admission rows in memory and, beside it, in DynamoDB Local, whose
share of the difference is the emulator's protocol. CPU of this process alone: the broker and the store have theirs.
"""

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from ingress.admission import Verdict
from ingress.answers import many
from ingress.edge import Edge
from ingress.inspection import Candidate, inspect_strictly, inspect_typed, split
from ingress.logs import log
from ingress.receipt import Decision, receipt_of
from ingress.record import Caller
from ingress.row import Settlement
from ingress.tables import ensure_tables
from laws.topics import TOPICS
from spine.provision import apply
from testkit.engines import borrowed
from tests.ingress.rig import RUN, Site, dummy_credentials, event_of, traffic

EVENTS_OF_A_FLOW = 4
_CALLER = Caller(None, None, "SYSTEM::cost")


def items(count: int) -> list[bytes]:
    """Events of an engine, each with its own trace."""
    base, found = secrets.token_hex(4), []
    for index in range(count):
        event = traffic(flow_id=f"flow-{base}-{index // EVENTS_OF_A_FLOW}")
        event["traceparent"] = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        found.append(json.dumps(event, separators=(",", ":")).encode())
    return found


async def whole(site: Site, table: str, size: int, events: int) -> float:
    """CPU microseconds an event of requests with `size` events each; 1 is a single envelope."""
    async with site.edge(table=table, rate_profile="measured", probe_s=3600) as edge:
        bodies = [items(size) for _ in range(max(2, events // size))]
        requests = [event_of(body[0] if size == 1 else b"[" + b",".join(body) + b"]") for body in bodies]
        await edge.handle(event_of(items(1)[0]))
        before = time.process_time()
        for request in requests:
            response = await edge.handle(request)
            assert response["statusCode"] in (200, 202), response
        return (time.process_time() - before) / (len(requests) * size) * 1e6


def steps(edge: Edge) -> dict[str, float]:
    """CPU microseconds of each pure step of one event; claim, publish and settlement are what is left of the whole."""
    raw = items(1)[0]
    array = b"[" + b",".join([raw] * 100) + b"]"
    candidate = inspect_typed(raw, RUN)
    assert isinstance(candidate, Candidate)
    row = edge._admission._fresh_row(candidate, time.time(), b"12345678")
    settled = Settlement(row, 1, 1, 1).settled()
    _, correlation = edge._stamp.record(candidate, _CALLER)
    answer = edge._items._answer(candidate, correlation, Verdict(Decision.ADMIT, settled))
    return {
        "take an array apart": _timed(lambda: split(array)) / 100,
        "judge by types": _timed(lambda: inspect_typed(raw, RUN)),
        "judge strictly (what types decline)": _timed(lambda: inspect_strictly(raw, RUN)),
        "canonical record, headers, trace": _timed(lambda: edge._stamp.record(candidate, _CALLER)),
        "row": _timed(lambda: edge._admission._fresh_row(candidate, 0.0, b"12345678")),
        "receipt": _timed(lambda: receipt_of(settled, Decision.ADMIT)),
        "answer in JSON": _timed(lambda: many([answer] * 100, 0)) / 100,
    }


def _timed(work: Callable[[], Any], times: int = 3000) -> float:
    work()
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times * 1e6


async def _main(events: int) -> None:
    dummy_credentials()
    log.muted = True
    with borrowed() as engines:
        site = Site(engines.endpoints)
        settings = site.settings()
        await ensure_tables(settings.dynamodb_url, settings.region, settings.idempotency_table, settings.quarantine_table)
        await apply({"bootstrap_servers": site.endpoints.kafka_bootstrap}, TOPICS, site.prefix)
        lines: dict[str, float] = {}
        async with site.edge(table="memory", probe_s=3600) as edge:
            await edge.bus.ensure()
            lines |= steps(edge)
        for table, sizes in (("memory", (1, 100, 500)), ("dynamodb", (1, 500))):
            for size in sizes:
                name = f"whole: {'single requests' if size == 1 else f'arrays of {size}'}, rows in {table}"
                lines[name] = await whole(site, table, size, events if table == "memory" or size > 1 else events // 4)
    sys.stdout.write("".join(f"{name:44} {us:>8.1f} us\n" for name, us in lines.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.ingress.cost", description=__doc__)
    parser.add_argument("--events", type=int, default=4000)
    asyncio.run(_main(parser.parse_args().events))
