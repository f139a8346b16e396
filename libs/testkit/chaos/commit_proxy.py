"""A wire between workers and PostgreSQL that breaks exactly when a COMMIT goes by: before it, after it, or with its fate unknown."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

# A simple query of the protocol, as asyncpg ends a transaction.
_COMMIT = b"COMMIT;\x00"


class Cut(StrEnum):
    """What becomes of the COMMIT at which the wire breaks; its sender can't tell which it was."""

    BEFORE = "before"
    """The store never sees it, and rolls back."""
    AFTER = "after"
    """The store has committed and said so; the answer is lost."""
    BLIND = "blind"
    """The store may or may not have read it when the wire breaks."""


class CommitProxy:
    """Relays bytes; every ordered cut breaks the connection of the next COMMIT that comes by."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._orders: deque[Cut] = deque()
        self._port = 0
        self._hold: asyncio.Event | None = None
        self.held = asyncio.Event()
        """A COMMIT stands before the store and waits."""
        self.cuts: Counter[Cut] = Counter()

    def order(self, cut: Cut) -> None:
        """Break the wire at the next COMMIT."""
        self._orders.append(cut)

    @contextlib.asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Every COMMIT waits until the block is over; then they all go on."""
        self._hold = asyncio.Event()
        try:
            yield
        finally:
            self._hold.set()
            self._hold = None
            self.held.clear()

    def through(self, dsn: str) -> str:
        """The same login, by this wire."""
        parts = urlsplit(dsn)
        return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self._port}"))

    @contextlib.asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """Relays for as long as the block."""
        target = urlsplit(self._dsn)
        host, port = target.hostname or "127.0.0.1", target.port or 5432
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Near(self, host, port), "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    def release_of(self, data: bytes) -> asyncio.Event | None:
        """What these bytes of a client must wait for; None for nothing."""
        if self._hold is None or _COMMIT not in data:
            return None
        self.held.set()
        return self._hold

    def due(self, data: bytes) -> Cut | None:
        """The cut that these bytes of a client run into, which is counted; None for none."""
        if not self._orders or _COMMIT not in data:
            return None
        cut = self._orders.popleft()
        self.cuts[cut] += 1
        return cut


class _Near(asyncio.Protocol):
    """The side of a worker."""

    def __init__(self, proxy: CommitProxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._place = (host, port)
        self._transport: asyncio.Transport | None = None
        self._far: _Far | None = None
        self._early = b""
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            _, self._far = await asyncio.get_running_loop().create_connection(lambda: _Far(self), *self._place)
        except OSError:
            self.cut()  # the store is down: its clients see what they would see without this wire
            return
        self._far.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self._far is None:
            self._early += data
            return
        if release := self._proxy.release_of(data):
            self._waiting = asyncio.get_running_loop().create_task(self._later(release, data, self._far))
            return
        cut = self._proxy.due(data)
        if cut is Cut.BEFORE:
            self.cut()
            return
        self._far.write(data)
        if cut is Cut.AFTER:
            self._far.deaf = True
        elif cut is Cut.BLIND:
            self._far.close()
            self.cut()

    async def _later(self, release: asyncio.Event, data: bytes, far: _Far) -> None:
        await release.wait()
        far.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self._far is not None:
            self._far.close()

    def answer(self, data: bytes) -> None:
        """Bytes of the store."""
        if self._transport is not None:
            self._transport.write(data)

    def cut(self) -> None:
        """Break both sides."""
        if self._transport is not None:
            self._transport.abort()
        if self._far is not None:
            self._far.abort()


class _Far(asyncio.Protocol):
    """The side of the store."""

    def __init__(self, near: _Near) -> None:
        self._near = near
        self._transport: asyncio.Transport | None = None
        self.deaf = False
        """The next answer is the one that gets lost."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            self._near.cut()
        else:
            self._near.answer(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._near.cut()

    def write(self, data: bytes) -> None:
        """Bytes of the worker."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Close once everything is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
