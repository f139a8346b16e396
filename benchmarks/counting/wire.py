"""A wire between a service and PostgreSQL that counts what goes by: executed statements by text, round trips, bytes in both directions.

It reads the protocol itself (PostgreSQL, chapter "Frontend/Backend Protocol"), so nothing that a driver does by itself is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

_SSL_REQUEST = 80877103
_CHUNK = 1 << 16


@dataclass
class Counts:
    """What went by."""

    statements: Counter[str] = field(default_factory=Counter)
    """Executions, by the statement's text with its white space made one blank."""
    round_trips: int = 0
    """How often the client waited for an answer."""
    bytes_out: int = 0
    """To the store, without the names of prepared statements."""
    bytes_in: int = 0


class Wire:
    """Relays the bytes of any number of connections; `counts` may be replaced between two of them to begin anew."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._port = 0
        self.counts = Counts()

    def through(self, dsn: str) -> str:
        """The same login, by this wire."""
        parts = urlsplit(dsn)
        return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{self._port}"))

    @contextlib.asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """Relays for as long as the block."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(self._dsn)
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        asked, answered = _Asked(self), _Answered(self)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer, asked, answered))
                group.create_task(_pump(far_reader, writer, answered, answered))
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: _Asked | _Answered, answered: _Answered) -> None:
    try:
        while data := await reader.read(_CHUNK):
            # Counted before it is passed on: whoever has an answer finds it counted.
            if seen.see(data):
                answered.single_byte = True
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return  # one side has left, and closing the other is all that is left to do
    finally:
        writer.close()


class _Asked:
    """Messages of the client."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = b""
        self._begun = False
        self._texts: dict[bytes, str] = {}
        self._portals: dict[bytes, bytes] = {}

    def see(self, data: bytes) -> bool:
        """Whether the client asked for TLS, which is answered by a single byte outside of all messages."""
        self._wire.counts.bytes_out += len(data)
        self._buffer += data
        tls = False
        while (taken := self._message()) is not None:
            kind, body = taken
            if kind == b"":
                tls = struct.unpack_from("!I", body)[0] == _SSL_REQUEST
                self._begun = not tls
            else:
                self._count(kind, body)
        return tls

    def _message(self) -> tuple[bytes, bytes] | None:
        # The first message has no letter.
        head = 1 if self._begun else 0
        if len(self._buffer) < head + 4:
            return None
        end = head + struct.unpack_from("!I", self._buffer, head)[0]
        if len(self._buffer) < end:
            return None
        kind, body = self._buffer[:head], self._buffer[head + 4 : end]
        self._buffer = self._buffer[end:]
        return kind, body

    def _count(self, kind: bytes, body: bytes) -> None:
        if kind == b"Q":
            self._executed(body[:-1].decode())
        elif kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._texts[name] = text.decode()
            self._leave_out(name)
        elif kind == b"B":
            portal, name, _ = body.split(b"\0", 2)
            self._portals[portal] = name
            self._leave_out(name)
        elif kind in (b"D", b"C"):
            self._leave_out(body[1:-1])
        elif kind == b"E":
            portal, _, _ = body.partition(b"\0")
            self._executed(self._texts[self._portals[portal]])

    def _leave_out(self, name: bytes) -> None:
        # The driver counts its statements' names up for as long as the process lives: they grow with what ran before.
        self._wire.counts.bytes_out -= len(name)

    def _executed(self, text: str) -> None:
        self._wire.counts.statements[" ".join(text.split())] += 1


class _Answered:
    """Messages of the store."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = b""
        self.single_byte = False

    def see(self, data: bytes) -> bool:
        """Never asks for TLS."""
        self._wire.counts.bytes_in += len(data)
        self._buffer += data
        if self.single_byte:
            self._buffer = self._buffer[1:]
            self.single_byte = False
        while len(self._buffer) >= 5:
            end = 1 + struct.unpack_from("!I", self._buffer, 1)[0]
            if len(self._buffer) < end:
                break
            # ReadyForQuery ends what the client waited for; CopyInResponse lets it go on.
            if self._buffer[:1] in (b"Z", b"G"):
                self._wire.counts.round_trips += 1
            self._buffer = self._buffer[end:]
        return False
