"""Speaks to the provider of effects: atomic per idempotency key, and asked again rather than told again (domain.md 6)."""

import aiohttp
import msgspec
from spine.deadline import Deadline
from spine.service import Cause, TaskResult

PROVIDER_EXECUTE = "provider.execute"

_CREATED = 201
_TRY_LATER = frozenset({429, 503})
_REFUSED = frozenset({400, 409, 413, 422})


class ProviderRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the provider is asked to do."""

    action_kind: str
    subject: dict[str, str]
    decision_id: str
    action_id: str
    platform_run_id: str


class Effect(msgspec.Struct, frozen=True):
    """What the provider says that it did; a fact of the outside, recorded as input."""

    status: str
    provider_ref: str
    completed_at: str


class _Told(msgspec.Struct, frozen=True):
    status: str = ""
    code: str | None = None


_TOLD = msgspec.json.Decoder(_Told)


class ProviderClient:
    """One connection pool to the provider. Raises nothing: every trouble is a TaskResult, or left to the spine as unknown."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def submit(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        """Ask for the effect under its key."""
        headers = {**_headers(cause), "Idempotency-Key": ref, "content-type": "application/json"}
        try:
            async with self._open().post(f"{self._url}/v1/effects", data=request, headers=headers, timeout=_within(deadline)) as answer:
                return _submitted(answer.status, await answer.read())
        except aiohttp.ClientConnectorError as error:
            # No connection was made, so nothing was asked.
            return TaskResult("RETRY", code=type(error).__name__)

    async def lookup(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        """Ask what became of the key."""
        async with self._open().get(f"{self._url}/v1/effects/{ref}", headers=_headers(cause), timeout=_within(deadline)) as answer:
            body = await answer.read()
            if answer.status == 404:
                return TaskResult("ABSENT", code="404")
            if answer.status != 200:
                return TaskResult("UNKNOWN", code=str(answer.status))
            told = _TOLD.decode(body)
            return TaskResult("DONE", body=body) if told.status == "EXECUTED" else TaskResult("REFUSED", code=told.code or told.status)

    async def reachable(self) -> list[str]:
        """Reasons why the provider can't be used now."""
        try:
            async with self._open().get(f"{self._url}/readyz", timeout=aiohttp.ClientTimeout(total=1.0)) as answer:
                return [] if answer.status == 200 else [f"provider answers {answer.status}"]
        except (aiohttp.ClientError, TimeoutError) as error:
            return [f"provider is not reachable: {type(error).__name__}"]

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))
        return self._session


def _submitted(status: int, body: bytes) -> TaskResult:
    if status == _CREATED:
        return TaskResult("DONE", body=body)
    if status in _TRY_LATER:
        return TaskResult("RETRY", code=str(status))
    if status in _REFUSED:
        return TaskResult("REFUSED", code=_TOLD.decode(body).code or str(status))
    return TaskResult("UNKNOWN", code=str(status))


def _within(deadline: Deadline) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=deadline.left)


def _headers(cause: Cause) -> dict[str, str]:
    return {name: value.decode("latin-1") for name, value in cause.correlation.headers()}
