"""An outside that is atomic per key and unreliable in what it says, for services whose own outside is too large to run beside them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from testkit.provider.faults import Fault, FaultRates

KeyOf = Callable[[web.Request, bytes], str]
Told = Callable[[str], bytes]


class StandIn:
    """Keeps what it was asked to do by key; the same key again is answered alike and done once."""

    def __init__(self, faults: FaultRates, key_of: KeyOf, told: Told) -> None:
        self._faults = faults
        self._key_of = key_of
        self._told = told
        self._attempts: Counter[str] = Counter()
        self.done: set[str] = set()

    async def submit(self, request: web.Request) -> web.Response:
        """201 with what it says of the key; 503 without effect; or no answer, with or without effect."""
        key = self._key_of(request, await request.read())
        self._attempts[key] += 1
        fault = self._faults.fault(key, self._attempts[key])
        if fault is Fault.UNAVAILABLE:
            return web.json_response({"reason": "DEPENDENCY_UNAVAILABLE"}, status=503)
        if fault is not Fault.LOST_BEFORE:
            self.done.add(key)
        if fault is not Fault.NONE and request.transport is not None:
            request.transport.abort()
        return web.Response(status=201, body=self._told(key), content_type="application/json")

    async def lookup(self, request: web.Request) -> web.Response:
        """200 with the same words where the key is done, else 404."""
        key = request.match_info["key"]
        if key not in self.done:
            return web.json_response({"reason": "NOT_FOUND"}, status=404)
        return web.Response(status=200, body=self._told(key), content_type="application/json")

    @contextlib.asynccontextmanager
    async def serving(self, submit: str, lookup: str) -> AsyncIterator[str]:
        """Serves both routes on a free port of this machine; gives the address."""
        app = web.Application()
        app.router.add_post(submit, self.submit)
        app.router.add_get(lookup, self.lookup)
        async with served(app) as url:
            yield url


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serves an application on a free port of this machine; gives its address."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()
