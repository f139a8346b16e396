"""POST over kept connections, HTTP/1.1, for requests that are all alike: one host, a body that is there, an answer that is read whole.

A general client costs three times as much CPU a request, for what such requests do not have: redirects, cookies, proxies, streams.
Answers are read by httptools, the parser of Node.js.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

# A load balancer closes what is idle for a minute; what was idle for half of it is not used again.
_IDLE_S = 30.0
# What says where an answer ends.
_FRAMES = frozenset({b"content-length", b"transfer-encoding"})


class WireError(Exception):
    """Nobody knows whether the request was done: there was no whole answer."""


class Wire:
    """So many connections to one address at the most. What finds all of them busy waits, and its own time runs."""

    def __init__(self, url: str, connections: int) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        own = parts.port is None or parts.port == (80 if self._tls is None else 443)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._begin = (
            f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {shown}{'' if own else f':{self._port}'}\r\nAccept-Encoding: identity\r\n"
        )
        self._slots = asyncio.Semaphore(connections)
        self._free: list[_Connection] = []
        self.opened = 0
        """Connections that were made since the beginning."""

    async def post(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the answer. Raises WireError, also where the time is over."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{self._begin}{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                connection = self._kept() or await self._connect()
                try:
                    answer = await connection.ask(request)
                except BaseException:
                    connection.close()  # an answer that comes later would be taken for the next one's
                    raise
                if connection.usable:
                    self._free.append(connection)
                return answer
        except (OSError, TimeoutError) as error:
            raise WireError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Ends the connections that nobody uses. Requests must have ended."""
        for connection in self._free:
            connection.close()
        self._free.clear()

    def _kept(self) -> "_Connection | None":
        oldest = asyncio.get_running_loop().time() - _IDLE_S
        while self._free:
            connection = self._free.pop()
            if connection.usable and connection.used_at > oldest:
                return connection
            connection.close()
        return None

    async def _connect(self) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port, ssl=self._tls)
        self.opened += 1
        return connection


class _Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._parser = HttpResponseParser(self)
        self._body = bytearray()
        self._is_framed = False
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.usable = False
        """Whether a request may be sent on it."""
        self.used_at = 0.0
        """By the loop's clock."""

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Sends a request; its answer, or an OSError."""
        self._answer = self._loop.create_future()
        if self._transport is None or not self.usable:
            self._fail(ConnectionResetError("the connection was closed"))
            return self._answer
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Use it no more."""
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def _fail(self, error: OSError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # --- of asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Requests may be sent."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none of asyncio's classes
        self.usable = True

    def connection_lost(self, error: Exception | None) -> None:
        """An answer that is not whole yet never will be."""
        self.usable = False
        self._fail(error if isinstance(error, OSError) else ConnectionResetError(str(error or "the connection was closed")))

    def data_received(self, data: bytes) -> None:
        """The next bytes of an answer."""
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.close()
            self._fail(OSError(f"no HTTP: {error}"))

    # --- what the parser finds ---

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._body.clear()
        self._is_framed = False

    def on_header(self, name: bytes, _: bytes) -> None:
        """A header, as it was written."""
        self._is_framed = self._is_framed or name.lower() in _FRAMES

    def on_headers_complete(self) -> None:
        """Without a length and without chunks an answer ends with its connection, and one that was cut off looks whole."""
        if not self._is_framed:
            self.close()
            self._fail(OSError("no HTTP: neither a length nor chunks"))

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._body += data

    def on_message_complete(self) -> None:
        """An answer is whole."""
        self.used_at = self._loop.time()
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked for it
            return
        if not self._parser.should_keep_alive():
            self.close()
        self._answer.set_result((self._parser.get_status_code(), bytes(self._body)))
