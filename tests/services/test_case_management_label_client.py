"""What each answer of the label store means for a handshake (domain.md 8.5)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientError, web

from case_management.label_client import PRINCIPAL, LabelStoreClient
from spine.deadline import Deadline
from spine.service import TaskResult
from spine.tokens import principal_of
from testkit.harness import free_port
from tests.services.fake_state import cause_of

CAUSE = cause_of("source")
SECRET = "secret"


class FakeLabelStore:
    """Answers what a test wants, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status = 201
        self.body = b'{"assertion_ref":"ls:1","reason":"ASSERTION_COMMITTED_NEW"}'
        self.delay = 0.0
        self.asked: list[tuple[str, str, bytes, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, await request.read(), dict(request.headers)))
        await asyncio.sleep(self.delay)
        return web.Response(status=self.status, body=self.body)


@pytest.fixture
async def fake() -> FakeLabelStore:
    return FakeLabelStore()


@pytest.fixture
async def client(fake: FakeLabelStore) -> AsyncIterator[LabelStoreClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made = LabelStoreClient(f"http://127.0.0.1:{port}", SECRET)
    yield made
    await made.close()
    await runner.cleanup()


def submit(client: LabelStoreClient, seconds: float = 5.0) -> Awaitable[TaskResult]:
    return client.submit("1", b"{}", CAUSE, Deadline(seconds))


def lookup(client: LabelStoreClient) -> Awaitable[TaskResult]:
    return client.lookup("1", b"{}", CAUSE, Deadline(5.0))


@pytest.mark.parametrize(
    ("status", "body", "result", "code"),
    [
        (201, b'{"assertion_ref":"ls:1"}', "DONE", None),
        (200, b'{"assertion_ref":"ls:1"}', "DONE", None),
        (400, b'{"reason":"CONTRACT_INVALID","detail":"x"}', "REFUSED", "CONTRACT_INVALID"),
        (409, b'{"reason":"PAYLOAD_HASH_MISMATCH"}', "REFUSED", "PAYLOAD_HASH_MISMATCH"),
        (422, b"{}", "REFUSED", "422"),
        (429, b"", "RETRY", "429"),
        (503, b"", "RETRY", "503"),
        (401, b"{}", "UNKNOWN", "401"),
        (403, b"{}", "UNKNOWN", "403"),
        (500, b"", "UNKNOWN", "500"),
    ],
)
async def test_each_answer_to_a_label(
    fake: FakeLabelStore, client: LabelStoreClient, status: int, body: bytes, result: str, code: str | None
) -> None:
    fake.status, fake.body = status, body
    told = await submit(client)
    assert (told.result, told.code) == (result, code)
    assert told.body == (body if result == "DONE" else b"")


@pytest.mark.parametrize(("status", "result"), [(200, "DONE"), (404, "ABSENT"), (401, "UNKNOWN"), (503, "UNKNOWN"), (500, "UNKNOWN")])
async def test_each_answer_to_a_question(fake: FakeLabelStore, client: LabelStoreClient, status: int, result: str) -> None:
    fake.status = status
    assert (await lookup(client)).result == result
    assert fake.asked[0][:2] == ("GET", "/v1/labels/1")


async def test_a_label_travels_with_our_credential_and_the_trace_of_its_case(fake: FakeLabelStore, client: LabelStoreClient) -> None:
    await client.submit("1", b'{"a":1}', CAUSE, Deadline(5.0))
    ((method, path, body, headers),) = fake.asked
    assert (method, path, body) == ("POST", "/v1/labels", b'{"a":1}')
    assert principal_of(SECRET, headers["Authorization"].removeprefix("Bearer ")) == PRINCIPAL
    assert headers["traceparent"] == CAUSE.correlation.traceparent


async def test_what_was_never_connected_was_never_handed_over() -> None:
    client = LabelStoreClient(f"http://127.0.0.1:{free_port()}", SECRET)
    assert (await submit(client)).result == "RETRY"
    await client.close()


@pytest.mark.parametrize("ask", [submit, lookup])
async def test_an_answer_that_does_not_come_is_left_to_the_spine_as_unknown(
    fake: FakeLabelStore, client: LabelStoreClient, ask: Callable[[LabelStoreClient], Awaitable[TaskResult]]
) -> None:
    fake.delay = 5.0
    with pytest.raises((TimeoutError, ClientError)):
        async with asyncio.timeout(0.2):
            await ask(client)
