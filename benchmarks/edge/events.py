"""Lawful events of the traffic stream, each with an identity and a trace of its own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

from testkit.edge_site import traffic

# A flow's events share their bus key, as in the world.
_EVENTS_OF_A_FLOW = 4


def events(count: int) -> Iterator[bytes]:
    """So many envelopes in JSON."""
    base = secrets.token_hex(8)
    for number in range(count):
        flow, place = divmod(number, _EVENTS_OF_A_FLOW)
        event = traffic(flow_id=f"flow-{base}-{flow}", event_seq=place + 1)
        event["traceparent"] = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        yield json.dumps(event, separators=(",", ":")).encode()
