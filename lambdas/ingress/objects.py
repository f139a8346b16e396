"""Objects in S3, written once: a key that stands is never overwritten."""

import asyncio
from typing import TYPE_CHECKING

from ingress.aws_json import BACKOFF_S, RETRIES, ServiceError, standard_credentials
from ingress.signature import Signer

if TYPE_CHECKING:
    import aiohttp

# An object of 1 MiB at 1 MB/s.
_ATTEMPT_TIMEOUT_S = 5.0
_STANDS = 412  # If-None-Match: * did not hold


class Objects:
    """A client of one bucket that lives as long as its process. Keys are ASCII letters, digits and ``/=._-``: what is signed unescaped."""

    def __init__(self, url: str, region: str, bucket: str) -> None:
        self._url = url.rstrip("/")
        self._region = region
        self._bucket = bucket
        self._session: aiohttp.ClientSession | None = None
        self._signer: Signer | None = None

    async def start(self) -> None:
        """Opens the session; connects to nothing yet. Raises ServiceError where no credentials can be had."""
        import aiohttp  # noqa: PLC0415 - as ingress.aws_json

        self._signer = Signer(self._url, "s3", self._region, standard_credentials())
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ATTEMPT_TIMEOUT_S))

    async def stop(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def uri(self, key: str) -> str:
        """Where an object stands, for whoever reads it."""
        return f"s3://{self._bucket}/{key}"

    async def put_once(self, key: str, body: bytes, content_type: str = "application/json") -> bool:
        """Writes the object; False if its key stands already, with whatever stands there. Raises ServiceError."""
        fields = {"content-type": content_type, "if-none-match": "*"}
        status, _ = await self._request("PUT", key, body, fields)
        return status != _STANDS

    async def get(self, key: str) -> bytes | None:
        """The object, None where there is none. Raises ServiceError."""
        status, body = await self._request("GET", key, b"", {})
        return None if status == 404 else body

    async def probe(self) -> None:
        """Raises ServiceError where the bucket can't be asked."""
        await self._request("GET", "probe", b"", {})

    async def _request(self, method: str, key: str, body: bytes, fields: dict[str, str]) -> tuple[int, bytes]:
        for left in range(RETRIES, -1, -1):
            cause = await self._once(method, key, body, fields)
            if isinstance(cause, tuple):
                return cause
            if left == 0:
                raise ServiceError(f"{method} of an object: {cause}")
            await asyncio.sleep(BACKOFF_S)
        raise AssertionError("the loop returns or raises")

    async def _once(self, method: str, key: str, body: bytes, fields: dict[str, str]) -> tuple[int, bytes] | str:
        """Status and body, or what may pass by itself. Raises ServiceError for what does not."""
        import aiohttp  # noqa: PLC0415 - already loaded by start()

        if self._session is None or self._signer is None:
            raise ServiceError(f"{method} of an object: the client is not started")
        path = f"/{self._bucket}/{key}"
        headers = self._signer.object_headers(method, path, body, fields)
        try:
            async with self._session.request(method, self._url + path, data=body or None, headers=headers) as response:
                status, raw = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        if status in (200, 404, _STANDS):
            return status, raw
        message = f"HTTP {status} {raw[:200].decode(errors='replace')}"
        if status >= 500 or status in (409, 429):  # 409: somebody else is writing the key in this moment
            return message
        raise ServiceError(f"{method} of an object: {message}")
