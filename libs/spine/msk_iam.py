"""MSK IAM tokens for the bus (authority.md 5.1.1 item 1): cached, signed off the event loop, renewed before their end."""

import asyncio
import time
from collections.abc import Callable

from aiokafka.abc import AbstractTokenProvider

# Tokens live 900 s. One that is younger than this share of its life is reused; the rest is room for a slow signer and a skewed clock.
_RENEW_AT = 0.8

Signer = Callable[[str], tuple[str, float]]


class TokenSignError(Exception):
    """No token could be signed and the cached one is over."""


def aws_signer() -> Signer:
    """AWS's own signer."""
    # Imported here: it brings boto3, whose import is half of a worker's start where nothing is signed.
    from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415  where it is signed only

    sign: Signer = MSKAuthTokenProvider.generate_auth_token
    return sign


class MskIamTokens(AbstractTokenProvider):
    """Token provider for aiokafka's SASL OAUTHBEARER.

    A broker connection asks at every (re)connect; signing may reach for credentials over the network, so it runs in a thread, once for
    all who wait.
    """

    def __init__(
        self,
        region: str,
        signer: Signer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._region = region
        self._signer = signer or aws_signer()
        self._clock = clock
        self._token = ""
        self._signed_at = 0.0
        self._ends_at = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good for a while. Raises TokenSignError when none can be had."""
        if self._is_fresh():
            return self._token
        async with self._lock:
            if self._is_fresh():
                return self._token
            await self._renew()
            return self._token

    def _is_fresh(self) -> bool:
        return self._clock() < self._signed_at + (self._ends_at - self._signed_at) * _RENEW_AT

    async def _renew(self) -> None:
        started = self._clock()
        try:
            token, expiry_ms = await asyncio.to_thread(self._signer, self._region)
        except Exception as error:
            # A hiccup of the credentials' source must not cut a bus whose token is still good.
            if self._clock() < self._ends_at:
                return
            raise TokenSignError(f"no MSK IAM token for region {self._region}: {error}") from error
        self._token, self._signed_at, self._ends_at = token, started, expiry_ms / 1000
