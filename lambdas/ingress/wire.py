"""POST over kept connections, HTTP/1.1, for requests that are all alike: one host, a body that is there, an answer that is read whole.

A general client costs three times as much CPU a request, for what such requests do not have: redirects, cookies, proxies, streams.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

# A load balancer closes what is idle for a minute; what was idle for half of it is not used again.
_IDLE_S = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


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
        return connection


class _Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._data = bytearray()
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.Protocol."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none of asyncio's classes
        self.usable = True

    def connection_lost(self, error: Exception | None) -> None:
        """Of asyncio.Protocol."""
        self.usable = False
        self._fail(error if isinstance(error, OSError) else ConnectionResetError(str(error or "the connection was closed")))

    def data_received(self, data: bytes) -> None:
        """Of asyncio.Protocol."""
        self._data += data
        try:
            answer = self._whole()
        except ValueError as error:
            self.close()
            self._fail(OSError(f"no HTTP: {error}"))
            return
        if answer is None:
            return
        self.used_at = self._loop.time()
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked for it
        else:
            self._answer.set_result(answer)

    def _fail(self, error: OSError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _whole(self) -> tuple[int, bytes] | None:
        """Status and body once all of it is here. Raises ValueError for what is no answer."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._data[: end + 2])
        status = _STATUS.match(head)
        if status is None:
            raise ValueError("no status line")
        length = _LENGTH.search(head)
        body: bytes | None
        if length is not None:
            body, rest = _of_length(self._data, end + 4, int(length[1]))
        elif _CHUNKED.search(head):
            body, rest = _of_chunks(self._data, end + 4)
        else:
            raise ValueError("neither a length nor chunks")
        if body is None:
            return None
        del self._data[:rest]
        if self._data:
            raise ValueError("more than one answer")
        if _CLOSE.search(head):
            self.close()
        return int(status[1]), body


def _of_length(data: bytearray, start: int, length: int) -> tuple[bytes | None, int]:
    end = start + length
    return (bytes(data[start:end]), end) if len(data) >= end else (None, 0)


def _of_chunks(data: bytearray, start: int) -> tuple[bytes | None, int]:
    """The body and where it ends; (None, 0) while a part is missing. Raises ValueError for a size that is none."""
    body = bytearray()
    while (line := data.find(b"\r\n", start)) >= 0:
        size = int(bytes(data[start:line]).partition(b";")[0], 16)
        begins, ends = line + 2, line + 2 + size
        if size == 0:
            # Trailers may follow; an empty line ends them.
            end = data.find(b"\r\n\r\n", line)
            return (bytes(body), end + 4) if end >= 0 else (None, 0)
        if len(data) < ends + 2:
            break
        body += data[begins:ends]
        start = ends + 2
    return None, 0
