"""Lambda functions on this machine: the real runtime client (awslambdaric) in sandboxes of one invocation at a time, and its Runtime API.

What Lambda does with a sandbox happens here too: an invocation waits for a free one, one that dies costs its invocation an error and is
replaced, and nothing runs in it between invocations.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ingress.spread import spread

_COMMAND = (sys.executable, "-m", "awslambdaric")
_VERSION = "/2018-06-01/runtime"
# A sandbox that ends at once, ends again: it is started anew after a pause, not in a loop.
_RESTART_S = 1.0
_TERMINATE_S = 5.0
# What Lambda itself gives back at most, and takes.
_PAYLOAD_BYTES = 6 * 1024 * 1024


class InvocationError(Exception):
    """The function raised, or its sandbox died, or its time was over."""


@dataclass
class _Invocation:
    number: str
    body: bytes
    deadline_ms: int
    answer: "asyncio.Future[bytes]"


@dataclass
class _Sandbox:
    port: int = 0
    process: asyncio.subprocess.Process | None = None
    current: _Invocation | None = None
    keeper: "asyncio.Task[None] | None" = None
    polled: asyncio.Event = field(default_factory=asyncio.Event)


class Function:
    """One function with so many sandboxes. `handler` is module.function, the environment is added to our own."""

    def __init__(self, handler: str, environment: Mapping[str, str], sandboxes: int, timeout_s: float) -> None:
        self._handler = handler
        self._environment = dict(environment)
        self._timeout_s = timeout_s
        self._sandboxes = [_Sandbox() for _ in range(sandboxes)]
        self._waiting: deque[_Invocation] = deque()
        self._come = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Serves the Runtime API and starts the sandboxes; returns when each has asked for work. Raises InvocationError otherwise."""
        app = web.Application(client_max_size=_PAYLOAD_BYTES)
        app.router.add_get(f"{_VERSION}/invocation/next", self._next)
        app.router.add_post(_VERSION + "/invocation/{number}/response", self._response)
        app.router.add_post(_VERSION + "/invocation/{number}/error", self._error)
        app.router.add_post(f"{_VERSION}/init/error", self._init_error)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        for index, sandbox in enumerate(self._sandboxes):
            site = web.TCPSite(self._runner, "127.0.0.1", 0)
            await site.start()
            sandbox.port = self._runner.addresses[index][1]
            sandbox.keeper = asyncio.create_task(self._keep(sandbox))
        try:
            async with asyncio.timeout(self._timeout_s):
                await spread(lambda sandbox: sandbox.polled.wait(), self._sandboxes, len(self._sandboxes))
        except TimeoutError:
            await self.stop()
            raise InvocationError(f"{self._handler}: a sandbox did not ask for work within {self._timeout_s:g} s") from None

    async def stop(self) -> None:
        """Ends the sandboxes. Invocations must have been answered."""
        for sandbox in self._sandboxes:
            if sandbox.keeper is not None:
                sandbox.keeper.cancel()
                await asyncio.gather(sandbox.keeper, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def invoke(self, event: Mapping[str, Any]) -> Any:
        """The function's answer. Raises InvocationError."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        ends_ms = int((time.time() + self._timeout_s) * 1000)
        invocation = _Invocation(str(uuid.uuid4()), json.dumps(event).encode(), ends_ms, answer)
        self._waiting.append(invocation)
        async with self._come:
            self._come.notify()
        try:
            async with asyncio.timeout(self._timeout_s):
                return json.loads(await answer)
        except TimeoutError:
            with contextlib.suppress(ValueError):
                self._waiting.remove(invocation)
            raise InvocationError(f"{self._handler}: no answer within {self._timeout_s:g} s") from None

    async def _keep(self, sandbox: _Sandbox) -> None:
        """Runs the sandbox, again and again."""
        environment = os.environ | {
            **self._environment,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{sandbox.port}",
            "AWS_LAMBDA_FUNCTION_NAME": self._handler,
            "_HANDLER": self._handler,
        }
        while True:
            process = await asyncio.create_subprocess_exec(*_COMMAND, self._handler, env=environment, stdout=sys.stderr)
            sandbox.process = process
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await _end(process)
                raise
            if sandbox.current is not None and not sandbox.current.answer.done():
                sandbox.current.answer.set_exception(InvocationError(f"the sandbox ended with {code}"))
            sandbox.current = None
            sandbox.polled.clear()
            await asyncio.sleep(_RESTART_S)

    async def _next(self, request: web.Request) -> web.Response:
        sandbox = self._of(request)
        sandbox.polled.set()
        async with self._come:
            await self._come.wait_for(lambda: any(self._open(invocation) for invocation in self._waiting))
            while True:
                invocation = self._waiting.popleft()
                if self._open(invocation):
                    break
        sandbox.current = invocation
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.number,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:local:000000000000:function:{self._handler}",
        }
        return web.Response(body=invocation.body, headers=headers, content_type="application/json")

    async def _response(self, request: web.Request) -> web.Response:
        self._answer(request, await request.read())
        return web.Response(status=202, text="{}")

    async def _error(self, request: web.Request) -> web.Response:
        told = (await request.read()).decode(errors="replace")
        self._answer(request, InvocationError(f"{self._handler}: {told[:500]}"))
        return web.Response(status=202, text="{}")

    async def _init_error(self, request: web.Request) -> web.Response:
        sys.stderr.write(f"{self._handler}: {(await request.read()).decode(errors='replace')[:2000]}\n")
        return web.Response(status=202, text="{}")

    def _answer(self, request: web.Request, said: bytes | InvocationError) -> None:
        sandbox = self._of(request)
        invocation, sandbox.current = sandbox.current, None
        if invocation is None or invocation.number != request.match_info["number"] or invocation.answer.done():
            return  # it came after its time was over; the caller was told so
        if isinstance(said, InvocationError):
            invocation.answer.set_exception(said)
        else:
            invocation.answer.set_result(said)

    def _of(self, request: web.Request) -> _Sandbox:
        assert request.transport is not None
        port = request.transport.get_extra_info("sockname")[1]
        return next(sandbox for sandbox in self._sandboxes if sandbox.port == port)

    @staticmethod
    def _open(invocation: _Invocation) -> bool:
        return not invocation.answer.done()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(_TERMINATE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
