"""The outside of the spine's tests: it pays once a reference, and keeps count."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from aiohttp import web

from rig import Rig
from testkit.harness import free_port


class Payee:
    """Atomic per reference, as a provider with idempotency keys is, and unreliable in what it says.

    `faults` are by reference, one a submission: `busy` (503, nothing is done), `lost before` and `lost after` (no answer, and nothing or
    everything is done).
    """

    def __init__(self, faults: dict[str, list[str]]) -> None:
        self.effects: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self._faults = faults

    async def submit(self, request: web.Request) -> web.Response:
        """Pay, or fail as it is told."""
        ref = request.match_info["ref"]
        fault = self._faults.get(ref, []).pop(0) if self._faults.get(ref) else ""
        if fault == "busy":
            return web.Response(status=503)
        if fault != "lost before":
            self.effects[ref] += 1
        if fault.startswith("lost") and request.transport is not None:
            request.transport.abort()
        return web.Response(status=201, body=b"{}")

    async def lookup(self, request: web.Request) -> web.Response:
        """Say whether it was paid."""
        ref = request.match_info["ref"]
        self.asked[ref] += 1
        return web.Response(status=200 if self.effects[ref] else 404, body=b"{}")


@contextlib.asynccontextmanager
async def payee_at(rig: Rig, *busy: str, **faults: list[str]) -> AsyncIterator[Payee]:
    """A payee that the workers of a rig will call; `busy` are references whose first submission is refused for the moment."""
    payee = Payee(faults | {ref: ["busy"] for ref in busy})
    app = web.Application()
    app.router.add_post("/{ref}", payee.submit)
    app.router.add_get("/{ref}", payee.lookup)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    rig.site.environment["FP_PROVIDER_URL"] = f"http://127.0.0.1:{port}"
    try:
        yield payee
    finally:
        await runner.cleanup()
