"""The client of the store's protocol: answers in every lawful form, and a connection that is in doubt is not used again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from botocore.credentials import Credentials

from ingress.signature import Credentials as CredentialsOf
from ingress.signature import FrozenCredentials, Signer
from ingress.wire import Wire, WireError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Served:
    """A server that answers request after request with what it is given, in pieces."""

    def __init__(self, *answers: list[bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.stall = asyncio.Event()
        """Set: an empty piece does not wait."""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                for piece in self.answers.pop(0):
                    if piece:
                        writer.write(piece)
                        await writer.drain()
                    else:
                        await self.stall.wait()
        except (asyncio.IncompleteReadError, IndexError, OSError):
            writer.close()  # no answer is left: the connection ends


@asynccontextmanager
async def serving(*answers: list[bytes], connections: int = 4) -> AsyncIterator[tuple[Served, Wire]]:
    served = Served(*answers)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    wire = Wire(served.url, connections)
    try:
        yield served, wire
    finally:
        wire.close()
        served.stall.set()
        server.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [OK],
        [OK[:9], OK[9:30], OK[30:-1], OK[-1:]],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1;x=y\r\n}\r\n0\r\n", b"\r\n"],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nTrailer: x\r\n\r\n"],
        [b"HTTP/1.1 200\r\nCONTENT-LENGTH:2\r\n\r\n{}"],
    ],
    ids=["at once", "in pieces", "chunks in pieces", "chunks with a trailer", "short"],
)
async def test_an_answer_is_read_whole_and_its_connection_kept(pieces: list[bytes]) -> None:
    async with serving(pieces, [OK]) as (served, wire):
        assert await wire.post(b"{1}", {"x-a": "b"}, 5.0) == (200, b"{}")
        assert await wire.post(b"{2}", {}, 5.0) == (200, b"{}")
        assert served.connections == 1
        assert served.requests[0].startswith(b"POST / HTTP/1.1\r\nHost: " + served.url[7:-1].encode() + b"\r\n")
        assert b"\r\nx-a: b\r\n" in served.requests[0] and served.requests[0].endswith(b"\r\n\r\n{1}")


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"],
        [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"],
        [OK + OK],
    ],
    ids=["closed by its own word", "of the old version", "more than was asked for"],
)
async def test_a_connection_in_doubt_is_not_used_again(pieces: list[bytes]) -> None:
    async with serving(pieces, [OK]) as (served, wire):
        try:
            assert await wire.post(b"1", {}, 5.0) == (200, b"{}")
        except WireError:
            assert len(pieces[0]) > len(OK)
        assert await wire.post(b"2", {}, 5.0) == (200, b"{}")
        assert served.connections == 2


@pytest.mark.parametrize(
    "pieces", [[], [OK[:-1]], [b"SSH-2.0\r\n\r\n"], [b"HTTP/1.1 200 OK\r\n\r\n{}"]], ids=["none", "half", "other", "no length"]
)
async def test_no_whole_answer_is_an_error(pieces: list[bytes]) -> None:
    async with serving(pieces) as (_, wire):
        with pytest.raises(WireError):
            await wire.post(b"1", {}, 5.0)


async def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    """Kept, its connection would hand the first answer to the second request."""
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"
    async with serving([OK], [b"", late], [OK], connections=1) as (served, wire):
        await wire.post(b"0", {}, 5.0)
        with pytest.raises(WireError, match="TimeoutError"):
            await wire.post(b"1", {}, 0.05)
        served.stall.set()
        assert await wire.post(b"2", {}, 5.0) == (200, b"{}")
        assert served.connections == 2


async def test_a_cancelled_request_leaves_its_slot_and_not_its_connection() -> None:
    async with serving([OK], [b"", OK], [OK], connections=1) as (served, wire):
        await wire.post(b"0", {}, 5.0)
        asked = asyncio.create_task(wire.post(b"1", {}, 5.0))
        while len(served.requests) < 2:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        served.stall.set()
        assert await wire.post(b"2", {}, 5.0) == (200, b"{}")
        assert served.connections == 2


async def test_an_address_where_nobody_listens_is_an_error() -> None:
    with pytest.raises(WireError, match="ConnectionRefusedError"):
        await Wire("http://127.0.0.1:1/", 1).post(b"1", {}, 5.0)


async def test_so_many_connections_at_the_most() -> None:
    async with serving(*([OK] for _ in range(12)), connections=3) as (served, wire):
        assert await asyncio.gather(*(wire.post(b"x", {}, 5.0) for _ in range(12))) == [(200, b"{}")] * 12
        assert served.connections <= 3


def test_a_signer_that_is_used_again_signs_as_a_new_one() -> None:
    """What it remembers is of one second and of one set of keys."""
    moments = [datetime(2026, 1, 5, 10, 0, second, tzinfo=UTC) for second in (0, 0, 1)] + [datetime(2026, 1, 6, tzinfo=UTC)]
    keys = [Credentials("A", "one", None), Credentials("A", "two", None), Credentials("A", "two", "token")]
    current = keys[0]

    class Rotating:
        def get_frozen_credentials(self) -> FrozenCredentials:
            frozen: FrozenCredentials = current.get_frozen_credentials()
            return frozen

    used = signer(Rotating())
    for current in keys:
        for moment in moments:
            for target in ("D.PutItem", "D.UpdateItem"):
                assert used.headers(target, b"{}", moment) == signer(current).headers(target, b"{}", moment)


def signer(credentials: CredentialsOf) -> Signer:
    return Signer("https://x.example.org/", "dynamodb", "eu-west-1", credentials)
