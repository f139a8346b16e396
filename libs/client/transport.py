"""Requests to the edge: items in, as many answers out, whatever happens on the way."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from client.answers import NO_ANSWER, Answer, answer_of

PUSH = "/v1/ingest/push"
# The edge itself gives up after 30 s; what comes later than this does not come.
_TIMEOUT_S = 35.0
KEY_HEADER = "X-IG-Api-Key"


def credential(key: str) -> dict[str, str]:
    """The header of an API key, or of a service token (st.v1...)."""
    return {"Authorization": f"Bearer {key}"} if key.startswith("st.") else {KEY_HEADER: key}


class Transport:
    """Connections to one edge that live as long as their owner."""

    def __init__(self, url: str, connections: int) -> None:
        self._url = url.rstrip("/") + PUSH
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Opens the session; connects to nothing yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections), timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)
        )

    async def stop(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def push(self, items: Sequence[bytes], headers: Mapping[str, str]) -> list[Answer]:
        """An answer for each item, which go as lines of one request. Never raises for what the network does.

        Lines, since an item that is no JSON would refuse all its neighbours in an array. Line breaks are spaces in JSON.
        """
        body = b"\n".join(item.replace(b"\n", b" ") for item in items)
        status, decoded, retry_after = await self._post(body, {"Content-Type": "application/x-ndjson", **headers})
        if status != 200:
            return [answer_of(status, decoded, retry_after)] * len(items)
        answers = decoded.get("items") or []
        if len(answers) != len(items):
            return [_nothing(f"{len(answers)} answers to {len(items)} items")] * len(items)
        return [answer_of(int(item["status"]), item) for item in answers]

    async def push_one(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer to one body as it stands, lawful or not."""
        return answer_of(*await self._post(body, headers))

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, Any], str | None]:
        if self._session is None:
            raise RuntimeError("the transport is not started")
        try:
            async with self._session.post(self._url, data=body, headers={"Content-Type": "application/json", **headers}) as response:
                raw, status, retry_after = await response.read(), response.status, response.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return NO_ANSWER, _nothing(f"{type(error).__name__}: {error}").body, None
        try:
            decoded = json.loads(raw) if raw else {}
        except ValueError:
            decoded = None
        if not isinstance(decoded, dict):
            # A proxy's page: if it says success it is nothing that the edge has said.
            return (NO_ANSWER if status < 400 else status), _nothing("no JSON object").body, retry_after
        return status, decoded, retry_after


def _nothing(cause: str) -> Answer:
    return Answer(NO_ANSWER, None, (), None, {"cause": cause})
