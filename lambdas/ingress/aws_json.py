"""AWS services that speak JSON over one signed POST a call (DynamoDB, SQS, SSM): no SDK on the hot path.

A boto3 put costs 3.7 times the CPU of this one (engines.md, AWS emulators).
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from ingress.signature import Credentials, Signer
from ingress.wire import Wire, WireError

# authority.md 5.1.1 item 11: IG_INTERNAL_RETRY_MAX_ATTEMPTS, IG_INTERNAL_RETRY_BACKOFF_MS.
RETRIES = 3
BACKOFF_S = 0.25
# Two hundred times the service's usual answer; two calls with all their retries and a publish still end within a request's 30 s.
ATTEMPT_TIMEOUT_S = 2.0

_TRANSIENT = frozenset(
    {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError", "ServiceUnavailable"}
)


class ServiceError(Exception):
    """A service did not do what it was asked, or nobody knows whether it did. `code` is its own name for why, "" without an answer."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class AwsJson:
    """A client that lives as long as its process: connections stay warm over invocations (lesson L5)."""

    service: ClassVar[str]
    """Its name in signatures."""
    target: ClassVar[str]
    """What stands before the operation in X-Amz-Target."""
    content_type: ClassVar[str] = "application/x-amz-json-1.0"
    error: ClassVar[type[ServiceError]] = ServiceError

    def __init__(
        self, url: str, region: str, connections: int, credentials: Callable[[], Credentials] | None = None, *, retries: int = RETRIES
    ) -> None:
        self._url = url.rstrip("/") + "/"
        self._region = region
        self._connections = connections
        self._credentials = credentials or standard_credentials
        self._retries = retries
        self._wire: Wire | None = None
        self._signer: Signer | None = None
        self.calls: Counter[str] = Counter()
        """Requests that were sent, by operation, retries included."""

    async def start(self) -> None:
        """Ready to connect; connects to nothing yet. Raises ServiceError where no credentials can be had."""
        self._signer = Signer(self._url, self.service, self._region, self._credentials(), self.content_type)
        self._wire = Wire(self._url, self._connections)

    async def stop(self) -> None:
        """Closes the connections."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one operation.

        Raises `error` after RETRIES for what may pass by itself, and what `refusal` makes of an answer. A write may have been done
        although it raises, and a repeated conditional write may meet its own first try: callers know their own rows.
        """
        body = msgspec.json.encode(request)
        for left in range(self._retries, -1, -1):
            try:
                return await self._once(operation, body)
            except _TransientError as error:
                if left == 0:
                    raise self.error(f"{operation}: {error}", error.code) from error
                await asyncio.sleep(BACKOFF_S)
        raise AssertionError("the loop returns or raises")

    def refusal(self, operation: str, code: str, message: str, answer: dict[str, Any]) -> Exception:
        """What an answer that will be the same next time is raised as."""
        return self.error(f"{operation}: {message}", code)

    async def _once(self, operation: str, body: bytes) -> dict[str, Any]:
        if self._wire is None or self._signer is None:
            raise self.error(f"{operation}: the client is not started")
        headers = self._signer.headers(f"{self.target}.{operation}", body)
        self.calls[operation] += 1
        try:
            status, raw = await self._wire.post(body, headers, ATTEMPT_TIMEOUT_S)
        except WireError as error:
            raise _TransientError(str(error)) from error
        try:
            answer: dict[str, Any] = msgspec.json.decode(raw) if raw else {}
        except msgspec.DecodeError as error:
            raise _TransientError(f"HTTP {status} without a JSON body") from error
        if status == 200:
            return answer
        code = str(answer.get("__type", "")).rpartition("#")[2]
        message = f"HTTP {status} {code}: {answer.get('message', answer.get('Message', ''))}"
        if status >= 500 or code in _TRANSIENT:
            raise _TransientError(message, code)
        raise self.refusal(operation, code, message, answer)


class _TransientError(Exception):
    """What may pass by itself."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def standard_credentials() -> Credentials:
    """Keys as every AWS client finds them. Raises ServiceError where there are none."""
    from botocore.session import get_session  # noqa: PLC0415 - 370 ms, needed once

    credentials: Credentials | None = get_session().get_credentials()
    if credentials is None:
        raise ServiceError("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the process a role")
    return credentials
