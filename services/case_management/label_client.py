"""Speaks to the label store's writer boundary (domain.md 8.5, 8.6)."""

import aiohttp
import msgspec

from spine.deadline import Deadline
from spine.service import Cause, TaskResult
from spine.tokens import issue

PRINCIPAL = "SYSTEM::case_management"

_DONE = frozenset({200, 201})
_TRY_LATER = frozenset({429, 503})
# Not 401 and 403: a credential that is refused is an operator's mistake, not the label's; it stays pending until that is mended.
_REFUSED = frozenset({400, 409, 413, 422})


class _Told(msgspec.Struct, frozen=True):
    reason: str = ""


_TOLD = msgspec.json.Decoder(_Told)


class LabelStoreClient:
    """One connection pool to the label store."""

    def __init__(self, url: str, token_secret: str) -> None:
        self._url = url
        self._token = issue(token_secret, PRINCIPAL)
        self._session: aiohttp.ClientSession | None = None

    async def submit(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        """Hand over a label assertion; DONE means that it is durable."""
        timeout = aiohttp.ClientTimeout(total=deadline.left)
        try:
            async with self._open().post(f"{self._url}/v1/labels", data=request, headers=self._headers(cause), timeout=timeout) as answer:
                body = await answer.read()
        except aiohttp.ClientConnectorError as error:
            # No connection was made, so nothing was handed over.
            return TaskResult("RETRY", code=type(error).__name__)
        if answer.status in _DONE:
            return TaskResult("DONE", body=body)
        if answer.status in _TRY_LATER:
            return TaskResult("RETRY", code=str(answer.status))
        if answer.status in _REFUSED:
            return TaskResult("REFUSED", code=_TOLD.decode(body).reason or str(answer.status))
        return TaskResult("UNKNOWN", code=str(answer.status))

    async def lookup(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        """Ask whether a label is durable."""
        timeout = aiohttp.ClientTimeout(total=deadline.left)
        async with self._open().get(f"{self._url}/v1/labels/{ref}", headers=self._headers(cause), timeout=timeout) as answer:
            body = await answer.read()
            if answer.status == 404:
                return TaskResult("ABSENT", code="404")
            return TaskResult("DONE", body=body) if answer.status == 200 else TaskResult("UNKNOWN", code=str(answer.status))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16))
        return self._session

    def _headers(self, cause: Cause) -> dict[str, str]:
        headers = {name: value.decode("latin-1") for name, value in cause.correlation.headers()}
        return {**headers, "authorization": f"Bearer {self._token}", "content-type": "application/json"}
