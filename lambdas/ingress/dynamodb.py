"""DynamoDB over its own protocol: one signed POST a call, no SDK on the hot path (engines.md, AWS emulators: 3.7 times the CPU)."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ingress.row import Item
from ingress.signature import Credentials, Signer

if TYPE_CHECKING:
    import aiohttp

# authority.md 5.1.1 item 11: IG_INTERNAL_RETRY_MAX_ATTEMPTS, IG_INTERNAL_RETRY_BACKOFF_MS.
RETRIES = 3
BACKOFF_S = 0.25
# Two hundred times the service's usual answer; two calls with all their retries and a publish still end within a request's 30 s.
ATTEMPT_TIMEOUT_S = 2.0

_TRANSIENT = frozenset(
    {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError", "ServiceUnavailable"}
)


class StoreError(Exception):
    """The store did not do what it was asked, or nobody knows whether it did."""


class ConditionFailedError(Exception):
    """The condition of a write did not hold; `item` is what stood there, None if nothing did."""

    def __init__(self, item: Item | None) -> None:
        super().__init__("condition failed")
        self.item = item


class DynamoDB:
    """A client that lives as long as its process: connections stay warm over invocations (lesson L5)."""

    def __init__(
        self, url: str, region: str, connections: int, credentials: Callable[[], Credentials] | None = None, *, retries: int = RETRIES
    ) -> None:
        self._url = url.rstrip("/") + "/"
        self._region = region
        self._connections = connections
        self._credentials = credentials or _standard_credentials
        self._retries = retries
        self._session: aiohttp.ClientSession | None = None
        self._signer: Signer | None = None
        self.calls: Counter[str] = Counter()
        """Requests that were sent, by operation, retries included."""

    async def start(self) -> None:
        """Opens the session; connects to nothing yet. Raises StoreError where no credentials can be had."""
        import aiohttp  # noqa: PLC0415 - 400 ms of a cold start that a refused posture need not pay

        self._signer = Signer(self._url, "dynamodb", self._region, self._credentials())
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    async def stop(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one operation.

        Raises ConditionFailedError, or StoreError for everything else, after RETRIES for what may pass by itself. A write may have
        been done although it raises, and a repeated conditional write may meet its own first try: callers know their own rows.
        """
        body = msgspec.json.encode(request)
        for left in range(self._retries, -1, -1):
            try:
                return await self._once(operation, body)
            except _TransientError as error:
                if left == 0:
                    raise StoreError(f"{operation}: {error}") from error
                await asyncio.sleep(BACKOFF_S)
        raise AssertionError("the loop returns or raises")

    async def _once(self, operation: str, body: bytes) -> dict[str, Any]:
        import aiohttp  # noqa: PLC0415 - already loaded by start()

        if self._session is None or self._signer is None:
            raise StoreError(f"{operation}: the client is not started")
        headers = self._signer.headers(f"DynamoDB_20120810.{operation}", body)
        self.calls[operation] += 1
        try:
            async with self._session.post(self._url, data=body, headers=headers) as response:
                status, raw = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _TransientError(f"{type(error).__name__}: {error}") from error
        try:
            answer: dict[str, Any] = msgspec.json.decode(raw)
        except msgspec.DecodeError as error:
            raise _TransientError(f"HTTP {status} without a JSON body") from error
        if status == 200:
            return answer
        name = str(answer.get("__type", "")).rpartition("#")[2]
        if name == "ConditionalCheckFailedException":
            raise ConditionFailedError(answer.get("Item"))
        message = f"HTTP {status} {name}: {answer.get('message', answer.get('Message', ''))}"
        if status >= 500 or name in _TRANSIENT:
            raise _TransientError(message)
        raise StoreError(f"{operation}: {message}")


class _TransientError(Exception):
    """What may pass by itself."""


def _standard_credentials() -> Credentials:
    from botocore.session import get_session  # noqa: PLC0415 - 370 ms, needed once

    credentials: Credentials | None = get_session().get_credentials()
    if credentials is None:
        raise StoreError("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the process a role")
    return credentials
