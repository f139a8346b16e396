"""Speaks to the provider of effects: atomic per idempotency key, and asked again rather than told again (domain.md 6)."""

from collections.abc import AsyncIterator, Sequence
from typing import Literal

import aiohttp
import msgspec

from laws.fields import Instant, Label, Name
from laws.trace_context import derive_span_id
from spine.deadline import Deadline
from spine.service import Cause, TaskRequest, TaskResult

PROVIDER_EXECUTE = "provider.execute"

_OK = 200
_CREATED = 201
_NOT_FOUND = 404
# The provider says at once that it did nothing and may be asked again.
_TRY_LATER = frozenset({429, 503})
# It will never do this: 409 and 422 are its word on the effect, 400 and 413 on our request.
_REFUSED = frozenset({400, 409, 413, 422})


class ProviderRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the provider is asked to do."""

    action_kind: str
    subject: dict[str, str]
    decision_id: str
    action_id: str
    platform_run_id: str


class Effect(msgspec.Struct, frozen=True):
    """What the provider says that it did; a fact of the outside, recorded as input.

    As strict as the contract of the outcome that carries it: what can't be carried is not taken as an answer.
    """

    status: Literal["EXECUTED"]
    provider_ref: Name
    completed_at: Instant


class _Refusal(msgspec.Struct, frozen=True):
    code: Label


class _Settled(msgspec.Struct, frozen=True):
    status: Literal["EXECUTED", "REFUSED"]


class _Wish(msgspec.Struct, frozen=True):
    """A line of a batch: an effect under its key, with the trace and the run headers of its own cause."""

    key: str
    headers: dict[str, str]
    request: msgspec.Raw


class _Told(msgspec.Struct, frozen=True):
    """A line of a batch's answer: what a single request would have been answered."""

    key: str
    http_status: int
    body: msgspec.Raw


EFFECT = msgspec.json.Decoder(Effect)
_LINES = msgspec.json.Encoder()
_TOLD = msgspec.json.Decoder(_Told)
_REFUSAL = msgspec.json.Decoder(_Refusal)


class ProviderClient:
    """One connection pool to the provider.

    A TaskResult says only what the provider's answer proves. Anything else (no answer, an answer that is not of its contract) is raised,
    and the spine takes what is raised as UNKNOWN: the effect may have been done.
    """

    def __init__(self, url: str, connections: int) -> None:
        self._url = url
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def submit(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        """Ask for the effect under its key."""
        headers = {**_headers(cause, ref), "Idempotency-Key": ref, "content-type": "application/json"}
        try:
            # No redirects: they would tell the wish to somebody else, once more.
            async with self._open().post(
                f"{self._url}/v1/effects", data=request, headers=headers, timeout=_within(deadline), allow_redirects=False
            ) as answer:
                return _submitted(answer.status, await answer.read())
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            # No connection was made, so nothing was asked.
            return TaskResult("RETRY", code=type(error).__name__)

    async def submit_many(self, requests: Sequence[TaskRequest], deadline: Deadline) -> AsyncIterator[tuple[str, TaskResult]]:
        """Ask for several effects in one request, each under its key; what is said of each, as it is said (a line each)."""
        lines = [_Wish(one.ref, _headers(one.cause, one.ref), msgspec.Raw(one.request)) for one in requests]
        try:
            async with self._open().post(
                f"{self._url}/v1/effects/batch",
                data=_LINES.encode_lines(lines),
                headers={"content-type": "application/x-ndjson"},
                timeout=_within(deadline),
                allow_redirects=False,
            ) as answer:
                if answer.status in _TRY_LATER:
                    for one in requests:
                        yield one.ref, TaskResult("RETRY", code=str(answer.status))
                if answer.status != _OK:
                    # Its word on the request as a whole is no word on any effect: each is asked about.
                    return
                async for line in answer.content:
                    told = _TOLD.decode(line)
                    yield told.key, _submitted(told.http_status, bytes(told.body))
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            # No connection was made, so nothing was asked.
            for one in requests:
                yield one.ref, TaskResult("RETRY", code=type(error).__name__)

    async def lookup(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        """Ask what became of the key."""
        async with self._open().get(
            f"{self._url}/v1/effects/{ref}", headers=_headers(cause, ref), timeout=_within(deadline), allow_redirects=False
        ) as answer:
            return _looked_up(answer.status, await answer.read())

    async def reachable(self) -> list[str]:
        """Reasons why the provider can't be used now."""
        try:
            async with self._open().get(f"{self._url}/readyz", timeout=aiohttp.ClientTimeout(total=1.0)) as answer:
                return [] if answer.status == _OK else [f"provider answers {answer.status}"]
        except (aiohttp.ClientError, TimeoutError) as error:
            return [f"provider is not reachable: {type(error).__name__}"]

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Not at build: a session belongs to the loop that runs when it is opened.
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self._connections))
        return self._session


def _submitted(status: int, body: bytes) -> TaskResult:
    if status == _CREATED:
        return _done(body)
    if status in _TRY_LATER:
        return TaskResult("RETRY", code=str(status))
    if status in _REFUSED:
        return TaskResult("REFUSED", code=_REFUSAL.decode(body).code)
    return TaskResult("UNKNOWN", code=str(status))


def _looked_up(status: int, body: bytes) -> TaskResult:
    if status == _NOT_FOUND:
        return TaskResult("ABSENT", code=str(status))
    if status != _OK:
        return TaskResult("UNKNOWN", code=str(status))
    if msgspec.json.decode(body, type=_Settled).status == "EXECUTED":
        return _done(body)
    return TaskResult("REFUSED", code=_REFUSAL.decode(body).code)


def _done(body: bytes) -> TaskResult:
    EFFECT.decode(body)
    return TaskResult("DONE", body=body)


def _within(deadline: Deadline) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=deadline.left)


def _headers(cause: Cause, ref: str) -> dict[str, str]:
    """The run headers of the cause and its trace, with a span of this lane's own."""
    came = cause.correlation
    span = derive_span_id(came.trace_id, "action_layer", ref)
    own = came._replace(traceparent=f"00-{came.trace_id}-{span}-{came.traceparent[53:55]}", runtime_lane="al")
    return {name: value.decode("latin-1") for name, value in own.headers()}
