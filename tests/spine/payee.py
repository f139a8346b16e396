"""The outside of the spine's tests: it pays once a reference, and keeps count."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from aiohttp import web

from rig import Rig
from testkit.harness import free_port


class Payee:
    """Atomic per reference, as a provider with idempotency keys is; busy the first time for some."""

    def __init__(self, busy: set[str]) -> None:
        self.effects: Counter[str] = Counter()
        self._busy = busy

    async def submit(self, request: web.Request) -> web.Response:
        """Pay."""
        ref = request.match_info["ref"]
        if ref in self._busy:
            self._busy.remove(ref)
            return web.Response(status=503)
        self.effects[ref] += 1
        return web.Response(status=201, body=b"{}")

    async def lookup(self, request: web.Request) -> web.Response:
        """Say whether it was paid."""
        return web.Response(status=200 if self.effects[request.match_info["ref"]] else 404, body=b"{}")


@contextlib.asynccontextmanager
async def payee_at(rig: Rig, *busy: str) -> AsyncIterator[Payee]:
    """A payee that the workers of a rig will call."""
    payee = Payee(set(busy))
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
