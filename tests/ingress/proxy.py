"""A network that can be cut: stands between the edge and the store."""

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Forwards bytes to one address until it is told otherwise."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._to = (parts.hostname or "", parts.port or 0)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self.swallow = 0
        """So many answers are dropped together with their connection, after the store has done what it was asked."""

    @property
    def endpoint(self) -> str:
        """Where the edge finds the store."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Lets connections through, on the same port as before."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Ends all connections and refuses new ones."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.close()
        await asyncio.sleep(0)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._to)
        self._open |= {writer, there_writer}
        with suppress(OSError):
            await asyncio.gather(self._pump(reader, there_writer, answers=False), self._pump(there_reader, writer, answers=True))
        self._open -= {writer, there_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while data := await reader.read(65536):
                if answers and self.swallow:
                    self.swallow -= 1
                    return
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
