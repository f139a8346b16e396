"""Ports on 127.0.0.1 that stay ours while an engine is down between a kill and a restart."""

from __future__ import annotations

import os
import random
import socket

from testkit.engines._cache import folder
from testkit.engines._errors import EngineError
from testkit.engines._locks import try_lock

# Below the range from which systems take the local ports of outgoing connections (32768 and up on Linux): a client's own
# connection would otherwise take the port of a killed engine, and its restart would fail with 'address in use'.
FIRST, LAST = 20_000, 32_000
TRIES = 500


def reserve() -> tuple[int, int]:
    """A free port and the descriptor of its reservation; whoever inherits the descriptor keeps the port reserved."""
    locks = folder("engines", "ports")
    for port in random.sample(range(FIRST, LAST), TRIES):
        descriptor = try_lock(locks / f"{port}.lock")
        if descriptor is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                os.close(descriptor)
                continue
        return port, descriptor
    raise EngineError(f"no free port in {FIRST}..{LAST} on 127.0.0.1 after {TRIES} tries: stop what holds them (ss -ltnp lists it)")
