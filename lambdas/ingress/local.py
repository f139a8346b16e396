"""The edge, its reconciler and its archive on one machine: in this process, or as the Lambda functions that they are, behind the same HTTP
adapter."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ingress.answers import Response, retry, single
from ingress.archive import Archive, StreamArchive
from ingress.dynamodb import DynamoDB
from ingress.edge import Edge
from ingress.ending import end
from ingress.letters import LetterQueue
from ingress.local_stream import Backfill, LocalStream, Take
from ingress.logs import log
from ingress.objects import Objects
from ingress.runtime_api import Function, InvocationError
from ingress.settings import EdgeSettings, Table
from laws.reasons import Reason

# A message is away from other readers for as long as a drain may take.
_VISIBILITY_S = 120
# Of the time that whoever ends us waits (40 s in a run) this is what receipts may take; what is left over, the next process brings.
_LAST_ROUND_S = 15.0

Work: TypeAlias = "Callable[[], Awaitable[object]]"


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
    """The edge in this process. Its reconciler and its archive run beside it."""

    def __init__(self, settings: EdgeSettings, every_s: float, mark: Path | None = None) -> None:
        self._edge = Edge(settings)
        self._objects: Objects | None = None
        self._stream: LocalStream | None = None
        if has_archive(settings):
            self._objects = Objects(settings.s3_url, settings.region, settings.archive_bucket)
            archive = StreamArchive(Archive(self._objects), self._edge.store, settings.idempotency_table)
            self._stream = _stream_of(settings, self._edge.store, archive.take, archive.backfill, mark)
        letters = _Letters(self._edge.letters, self._edge.reconciler.drain)
        self._rounds = _Rounds(every_s, {"reconciler": [letters.round, self._edge.reconciler.sweep], "archive": _rounds_of(self._stream)})

    async def start(self) -> None:
        """As Served."""
        if self._objects is not None:
            await self._objects.start()
        await self._edge.start()
        await self._rounds.start()

    async def stop(self) -> None:
        """As Served."""
        await self._rounds.stop("archive")
        await self._edge.stop()
        if self._objects is not None:
            await self._objects.stop()

    async def handle(self, event: Mapping[str, Any]) -> Response:
        """As Served."""
        return await self._edge.handle(event)


class Sandboxed:
    """The functions under Lambda's own runtime client; requests go to whichever sandbox is free."""

    def __init__(self, settings: EdgeSettings, sandboxes: int, every_s: float, mark: Path | None = None) -> None:
        timeout_s = settings.request_timeout_s
        # A store that this process serves itself is in no environment yet.
        environment = {"FP_IG_S3_ENDPOINT": settings.s3_endpoint, "FP_IG_ARCHIVE_BUCKET": settings.archive_bucket}
        self._edge = Function("ingress.handler.handler", environment, sandboxes, timeout_s)
        # A sweep may read partitions for a minute and more.
        self._reconciler = Function("ingress.reconciler_handler.handler", environment, 1, 10 * timeout_s)
        self._functions = [self._edge, self._reconciler]
        self._letters = LetterQueue(settings.dlq_url, settings.region) if settings.dlq_url else None
        self._store: DynamoDB | None = None
        self._archive: Function | None = None
        stream: LocalStream | None = None
        if has_archive(settings):
            self._store = DynamoDB(settings.dynamodb_url, settings.region, connections=2)
            self._archive = Function("ingress.archive_handler.handler", environment, 1, 10 * timeout_s)
            self._functions.append(self._archive)
            stream = _stream_of(settings, self._store, self._take, self._backfill, mark)
        letters = _Letters(self._letters, self._drain)
        self._rounds = _Rounds(every_s, {"reconciler": [letters.round, lambda: self._reconciler.invoke({})], "archive": _rounds_of(stream)})

    async def start(self) -> None:
        """As Served."""
        for client in (self._letters, self._store):
            if client is not None:
                await client.start()
        await asyncio.gather(*(function.start() for function in self._functions))
        await self._rounds.start()

    async def stop(self) -> None:
        """As Served."""
        await self._rounds.stop("archive")
        await asyncio.gather(*(function.stop() for function in self._functions))
        for client in (self._letters, self._store):
            if client is not None:
                await client.stop()

    async def handle(self, event: Mapping[str, Any]) -> Response:
        """As Served. What API Gateway makes of a function that fails is said in the edge's own words: 503, nothing is decided."""
        try:
            response: Response = await self._edge.invoke(event)
        except InvocationError as error:
            log.error("invocation_failed", cause=str(error))
            return single(retry(Reason.INTERNAL_ERROR, None, "the function did not answer: send it again"), 0)
        return response

    async def _drain(self, messages: list[dict[str, Any]]) -> list[str]:
        return _failed(await self._reconciler.invoke({"Records": messages}))

    async def _take(self, records: list[dict[str, Any]]) -> list[str]:
        assert self._archive is not None  # only a stream calls, and there is none without an archive
        return _failed(await self._archive.invoke({"Records": records}))

    async def _backfill(self) -> None:
        assert self._archive is not None
        await self._archive.invoke({})


def has_archive(settings: EdgeSettings) -> bool:
    """Whether receipts go somewhere, from rows that somebody else than their process can read."""
    return bool(settings.archive_bucket) and settings.table is Table.DYNAMODB


def _stream_of(settings: EdgeSettings, store: DynamoDB, take: Take, backfill: Backfill, mark: Path | None) -> LocalStream:
    return LocalStream(store, settings.idempotency_table, settings.quarantine_table, take, backfill, mark=mark)


def _rounds_of(stream: LocalStream | None) -> list[Work]:
    return [] if stream is None else [stream.round]


def _failed(answer: Mapping[str, Any]) -> list[str]:
    """What has to come again, out of a partial batch answer."""
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


class _Letters:
    """What the queue's event source does in the cloud."""

    def __init__(self, letters: LetterQueue | None, drain: Callable[[list[dict[str, Any]]], Awaitable[list[str]]]) -> None:
        self._letters = letters
        self._drain = drain

    async def round(self) -> None:
        """Drains the queue until it is empty or something has to wait."""
        while self._letters is not None and (messages := await self._letters.receive(_VISIBILITY_S)):
            again = set(await self._drain(messages))
            await self._letters.delete([message["receiptHandle"] for message in messages if message["messageId"] not in again])
            if again:
                return  # they come back when their time out of sight is over


class _Rounds:
    """What schedules and event sources do in the cloud: each kind of work done every so often, for itself."""

    def __init__(self, every_s: float, work: Mapping[str, Sequence[Work]]) -> None:
        self._every_s = every_s
        self._work = work
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self, last: str) -> None:
        """Ends the rounds, with one more of the kind named: what was admitted since its last one is not left to another process."""
        if self._task is not None:
            await end(self._task)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_ROUND_S):
                await self._round(last)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            for name in self._work:
                await self._round(name)

    async def _round(self, name: str) -> None:
        try:
            for work in self._work[name]:
                await work()
        except Exception:
            log.exception(f"{name}_failed")  # the next round tries again, as a schedule does
