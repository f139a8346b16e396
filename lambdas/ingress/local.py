"""The edge and its reconciler on one machine: in this process, or as the Lambda functions that they are, behind the same HTTP adapter."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from ingress.answers import Response, retry, single
from ingress.edge import Edge
from ingress.letters import LetterQueue
from ingress.logs import log
from ingress.runtime_api import Function, InvocationError
from ingress.settings import EdgeSettings
from laws.reasons import Reason

# A message is away from other readers for as long as a drain may take.
_VISIBILITY_S = 120


class Served(Protocol):
    """What stands behind the adapter."""

    async def start(self) -> None:
        """Ready to handle when it returns."""
        ...

    async def stop(self) -> None:
        """Requests must have ended."""
        ...

    async def handle(self, event: Mapping[str, Any]) -> Response:
        """The response to an API Gateway event. Never raises."""
        ...


class InProcess:
    """The edge in this process. Its reconciler runs beside it."""

    def __init__(self, settings: EdgeSettings, reconcile_s: float) -> None:
        self._edge = Edge(settings)
        self._rounds = _Rounds(reconcile_s, self._edge.letters, self._edge.reconciler.sweep, self._edge.reconciler.drain)

    async def start(self) -> None:
        """As Served."""
        await self._edge.start()
        await self._rounds.start()

    async def stop(self) -> None:
        """As Served."""
        await self._rounds.stop()
        await self._edge.stop()

    async def handle(self, event: Mapping[str, Any]) -> Response:
        """As Served."""
        return await self._edge.handle(event)


class Sandboxed:
    """The functions under Lambda's own runtime client; requests go to whichever sandbox is free."""

    def __init__(self, settings: EdgeSettings, sandboxes: int, reconcile_s: float) -> None:
        timeout_s = settings.request_timeout_s
        self._edge = Function("ingress.handler.handler", {}, sandboxes, timeout_s)
        # A sweep may read partitions for a minute and more.
        self._reconciler = Function("ingress.reconciler_handler.handler", {}, 1, 10 * timeout_s)
        self._letters = LetterQueue(settings.dlq_url, settings.region) if settings.dlq_url else None
        self._rounds = _Rounds(reconcile_s, self._letters, lambda: self._reconciler.invoke({}), self._drain)

    async def start(self) -> None:
        """As Served."""
        if self._letters is not None:
            await self._letters.start()
        await asyncio.gather(self._edge.start(), self._reconciler.start())
        await self._rounds.start()

    async def stop(self) -> None:
        """As Served."""
        await self._rounds.stop()
        await asyncio.gather(self._edge.stop(), self._reconciler.stop())
        if self._letters is not None:
            await self._letters.stop()

    async def handle(self, event: Mapping[str, Any]) -> Response:
        """As Served. What API Gateway makes of a function that fails is said in the edge's own words: 503, nothing is decided."""
        try:
            response: Response = await self._edge.invoke(event)
        except InvocationError as error:
            log.error("invocation_failed", cause=str(error))
            return single(retry(Reason.INTERNAL_ERROR, None, "the function did not answer: send it again"), 0)
        return response

    async def _drain(self, messages: list[dict[str, Any]]) -> list[str]:
        answer = await self._reconciler.invoke({"Records": messages})
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


class _Rounds:
    """What a schedule and an event source do in the cloud: the reconciler swept and the queue drained, every so often."""

    def __init__(
        self,
        every_s: float,
        letters: LetterQueue | None,
        sweep: Callable[[], Awaitable[object]],
        drain: Callable[[list[dict[str, Any]]], Awaitable[list[str]]],
    ) -> None:
        self._every_s = every_s
        self._letters = letters
        self._sweep = sweep
        self._drain = drain
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._round()
            except Exception:
                log.exception("reconciler_failed")  # the next round tries again, as a schedule does

    async def _round(self) -> None:
        while self._letters is not None and (messages := await self._letters.receive(_VISIBILITY_S)):
            again = set(await self._drain(messages))
            await self._letters.delete([message["receiptHandle"] for message in messages if message["messageId"] not in again])
            if again:
                break  # they come back when their time out of sight is over
        await self._sweep()
