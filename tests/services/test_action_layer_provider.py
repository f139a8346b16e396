"""The provider's client says what an answer proves and nothing more; what is unknown is asked about (domain.md 6)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from action_layer.provider_client import EFFECT, ProviderClient
from laws.canonical import canonical_json
from spine.deadline import Deadline
from spine.service import TaskRequest, TaskResult
from testkit.provider.book import Book
from testkit.provider.faults import FaultRates
from testkit.provider.service import Provider
from tests.services.fake_state import RUN, SCENARIO_RUN, cause_of

NO_FAULTS = {"unavailable": 0.0, "lost_before": 0.0, "lost_after": 0.0, "delayed": 0.0, "refused": 0.0}
REQUEST = canonical_json({"action_kind": "txn_block", "subject": {"event_id": "e1"}})
CAUSE = cause_of("i1")
KEY = "a" * 64

Serve = Callable[[web.Application], Awaitable[ProviderClient]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []
    clients: list[ProviderClient] = []

    async def begin(app: web.Application) -> ProviderClient:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = ProviderClient("http://{}:{}".format(*runner.addresses[0][:2]), 4)
        clients.append(client)
        return client

    yield begin
    for client in clients:
        await client.close()
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def provide(serve: Serve, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[tuple[ProviderClient, Book]]]]:
    books: list[Book] = []

    async def begin(**rates: float) -> tuple[ProviderClient, Book]:
        book = Book(tmp_path / f"journal{len(books)}")
        books.append(book)
        return await serve(Provider(book, FaultRates(**{**NO_FAULTS, **rates}), 65_536).app()), book  # type: ignore[arg-type]  # seed is left

    yield begin
    for book in books:
        await book.close()


Provide = Callable[..., Awaitable[tuple[ProviderClient, Book]]]


def answering(status: int, body: bytes, seen: list[web.Request] | None = None) -> web.Application:
    async def handle(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append(request)
        return web.Response(status=status, body=body, headers={"location": "/elsewhere"} if 300 <= status < 400 else None)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    return app


async def test_done_is_told_with_what_the_provider_says(provide: Provide) -> None:
    client, book = await provide()
    result = await client.submit(KEY, REQUEST, CAUSE, Deadline(2))
    assert result.result == "DONE" and EFFECT.decode(result.body).provider_ref.startswith("prv_")
    found = await client.lookup(KEY, REQUEST, CAUSE, Deadline(2))
    assert EFFECT.decode(found.body) == EFFECT.decode(result.body)
    assert book.counts["EXECUTED"] == 1


async def test_a_refusal_is_told_with_its_code(provide: Provide) -> None:
    client, book = await provide(refused=1.0)
    submitted = await client.submit(KEY, REQUEST, CAUSE, Deadline(2))
    found = await client.lookup(KEY, REQUEST, CAUSE, Deadline(2))
    assert submitted.result == found.result == "REFUSED"
    assert submitted.code == found.code and submitted.code
    assert book.counts["EXECUTED"] == 0


async def test_a_key_with_another_body_is_refused(provide: Provide) -> None:
    client, book = await provide()
    await client.submit(KEY, REQUEST, CAUSE, Deadline(2))
    other = await client.submit(KEY, canonical_json({"action_kind": "txn_step_up", "subject": {}}), CAUSE, Deadline(2))
    assert (other.result, other.code) == ("REFUSED", "IDEMPOTENCY_KEY_REUSED")
    assert book.counts["EXECUTED"] == 1


async def test_unavailable_is_surely_not_done(provide: Provide) -> None:
    client, _ = await provide(unavailable=1.0)
    assert (await client.submit(KEY, REQUEST, CAUSE, Deadline(2))).result == "RETRY"
    assert (await client.lookup(KEY, REQUEST, CAUSE, Deadline(2))).result == "ABSENT"


async def test_nobody_there_is_surely_not_done() -> None:
    client = ProviderClient("http://127.0.0.1:1", 4)
    try:
        assert (await client.submit(KEY, REQUEST, CAUSE, Deadline(2))).result == "RETRY"
        assert {result.result for result in (await told(client, 2)).values()} == {"RETRY"}
        with pytest.raises(aiohttp.ClientError):
            await client.lookup(KEY, REQUEST, CAUSE, Deadline(2))
        (reason,) = await client.reachable()
        assert "not reachable" in reason
    finally:
        await client.close()


@pytest.mark.parametrize(("fault", "found"), [("lost_after", "DONE"), ("lost_before", "ABSENT")])
async def test_a_lost_answer_is_raised_told_once_and_settled_by_asking(provide: Provide, fault: str, found: str) -> None:
    client, book = await provide(**{fault: 1.0})
    with pytest.raises(aiohttp.ClientError):
        await client.submit(KEY, REQUEST, CAUSE, Deadline(2))
    assert book.counts["ATTEMPTS"] == 1, "the client itself never repeats"
    assert (await client.lookup(KEY, REQUEST, CAUSE, Deadline(2))).result == found
    assert book.counts["ATTEMPTS"] == 1


async def test_a_lost_answer_on_a_used_connection_is_not_repeated_either(provide: Provide) -> None:
    client, book = await provide(lost_after=0.5)
    for number in range(12):
        try:
            await client.submit(f"{KEY}{number}", REQUEST, CAUSE, Deadline(2))
        except aiohttp.ClientError:
            continue
    assert book.counts["ATTEMPTS"] == book.counts["EXECUTED"] == 12


async def told(client: ProviderClient, count: int) -> dict[str, TaskResult]:
    requests = [TaskRequest(f"{KEY}{number}", REQUEST, CAUSE) for number in range(count)]
    return {ref: result async for ref, result in client.submit_many(requests, Deadline(2))}


async def test_of_several_together_each_is_told_what_it_alone_would_be(provide: Provide) -> None:
    """The same seed of faults, asked together and one by one: the same words, and silence where the answer is lost."""
    rates = {"unavailable": 0.2, "lost_before": 0.2, "lost_after": 0.2, "refused": 0.2}
    together, book = await provide(**rates)
    alone, _ = await provide(**rates)
    answers = await told(together, 40)
    for number in range(40):
        ref = f"{KEY}{number}"
        try:
            result = await alone.submit(ref, REQUEST, CAUSE, Deadline(2))
        except aiohttp.ClientError:
            assert ref not in answers
            continue
        assert (answers[ref].result, answers[ref].code) == (result.result, result.code)
    assert {result.result for result in answers.values()} == {"DONE", "REFUSED", "RETRY"} and len(answers) < 40
    assert book.counts["ATTEMPTS"] == 40, "the client itself never repeats"


async def test_a_word_on_a_whole_batch_is_no_word_on_an_effect(serve: Serve) -> None:
    assert await told(await serve(answering(413, b'{"code":"TOO_LARGE"}')), 2) == {}
    assert {result.result for result in (await told(await serve(answering(503, b"{}")), 2)).values()} == {"RETRY"}


async def test_what_was_told_before_an_answer_broke_off_holds(serve: Serve) -> None:
    effect = b'{"status":"EXECUTED","provider_ref":"p","completed_at":"2026-01-05T12:00:01.000000Z"}'
    line = b'{"key":"' + KEY.encode() + b'0","http_status":201,"body":' + effect + b"}\n"
    client = await serve(answering(200, line + b'{"key":"'))
    answers: dict[str, TaskResult] = {}
    with pytest.raises(msgspec.DecodeError):
        async for ref, result in client.submit_many([TaskRequest(f"{KEY}{n}", REQUEST, CAUSE) for n in range(2)], Deadline(2)):
            answers[ref] = result
    assert {ref: result.result for ref, result in answers.items()} == {f"{KEY}0": "DONE"}


async def test_an_answer_that_does_not_come_in_time_is_raised(provide: Provide) -> None:
    client, _ = await provide(delayed=1.0, delay_ms=60_000)
    with pytest.raises(TimeoutError):
        await client.submit(KEY, REQUEST, CAUSE, Deadline(0.1))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (201, b"not json"),
        (201, b'{"status":"EXECUTED"}'),
        (201, b'{"status":"EXECUTED","provider_ref":"p","completed_at":"yesterday"}'),
        (201, b'{"status":"REFUSED","provider_ref":"p","completed_at":"2026-01-05T12:00:01.000000Z"}'),
        (409, b"<html>a proxy's page</html>"),
        (422, b'{"status":"REFUSED"}'),
        (409, msgspec.json.encode({"code": "x" * 129})),
    ],
)
async def test_an_answer_that_is_not_of_its_contract_proves_nothing(serve: Serve, status: int, body: bytes) -> None:
    client = await serve(answering(status, body))
    with pytest.raises(msgspec.MsgspecError):
        await client.submit(KEY, REQUEST, CAUSE, Deadline(2))


@pytest.mark.parametrize("status", [200, 202, 204, 301, 307, 404, 500, 502, 504])
async def test_any_other_status_of_a_submit_is_unknown_and_asked_once(serve: Serve, status: int) -> None:
    seen: list[web.Request] = []
    client = await serve(answering(status, b"", seen))
    assert (await client.submit(KEY, REQUEST, CAUSE, Deadline(2))).result == "UNKNOWN"
    assert len(seen) == 1


@pytest.mark.parametrize("status", [201, 302, 409, 500, 503])
async def test_any_other_status_of_a_lookup_is_unknown(serve: Serve, status: int) -> None:
    client = await serve(answering(status, b'{"status":"EXECUTED"}'))
    assert (await client.lookup(KEY, REQUEST, CAUSE, Deadline(2))).result == "UNKNOWN"


async def test_a_lookup_of_another_state_proves_nothing(serve: Serve) -> None:
    client = await serve(answering(200, b'{"status":"PENDING"}'))
    with pytest.raises(msgspec.ValidationError):
        await client.lookup(KEY, REQUEST, CAUSE, Deadline(2))


async def test_the_trace_and_the_run_go_along_with_a_span_of_this_lane(serve: Serve) -> None:
    seen: list[web.Request] = []
    client = await serve(answering(503, b"", seen))
    await client.submit(KEY, REQUEST, CAUSE, Deadline(2))
    await client.lookup(KEY, REQUEST, CAUSE, Deadline(2))
    for request in seen:
        headers = request.headers
        assert headers["traceparent"][3:35] == CAUSE.correlation.trace_id
        assert headers["traceparent"] != CAUSE.correlation.traceparent
        assert (headers["x-fp-platform-run-id"], headers["x-fp-scenario-run-id"], headers["x-fp-runtime-lane"]) == (RUN, SCENARIO_RUN, "al")
    assert seen[0].headers["Idempotency-Key"] == KEY


async def test_ready_when_the_provider_is(provide: Provide, serve: Serve) -> None:
    client, _ = await provide()
    assert await client.reachable() == []
    down = await serve(answering(503, b""))
    assert await down.reachable() == ["provider answers 503"]
