"""Authentication (domain.md 2.14): an API key in X-IG-Api-Key, known to the edge by its digest, or a service token as bearer."""

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping

from ingress.aws_json import ServiceError
from ingress.logs import log
from ingress.producers import Credentials, CredentialsError, Producer
from spine.tokens import principal_of

KEY_HEADER = "x-ig-api-key"
TOKEN_HEADER = "authorization"  # noqa: S105  the name of a header
_BEARER = "bearer "

# domain.md 2.10: the key is cached for 300 s. A rotation has two live keys, so nobody is locked out by it.
FRESH_S = 300.0
# Without SSM the edge goes on with what it knows for so long; then it can't tell a withdrawn key from a live one, and fails closed.
STALE_S = 3600.0
# A failed reading is not repeated for every request.
RETRY_S = 5.0

Load = Callable[[], Awaitable[Credentials]]
"""Reads the credentials. Raises ServiceError or CredentialsError."""


class Authority:
    """What is known of the producers, read when it is asked for and getting old."""

    def __init__(self, load: Load, clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._known: Credentials | None = None
        self._by_principal: dict[str, Producer] = {}
        self._read_at = 0.0
        self._next_try = -RETRY_S
        self.cause = "the credentials were not read yet"
        """Why the last reading failed; "" where it did not."""

    async def ready(self) -> bool:
        """Whether callers can be told apart now. Reads what is too old, and goes on with what is known where that fails."""
        now = self._clock()
        if (self._known is None or now - self._read_at >= FRESH_S) and now >= self._next_try:
            await self._read(now)
        return self._known is not None and now - self._read_at < STALE_S

    def who(self, headers: Mapping[str, str]) -> Producer | None:
        """The producer whose credential the headers hold; names of headers are lower case. None: nobody that is known.

        All digests and signatures are compared, each in constant time: the time of an answer tells nothing about a credential.
        """
        if self._known is None:
            return None
        if key := headers.get(KEY_HEADER):
            return self._of_key(key)
        token = headers.get(TOKEN_HEADER, "")
        if token[: len(_BEARER)].lower() == _BEARER:
            return self._of_token(token[len(_BEARER) :].strip())
        return None

    def _of_key(self, key: str) -> Producer | None:
        assert self._known is not None
        shown = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest().encode()
        found = None
        for producer in self._known.producers:
            for digest in producer.key_hashes:
                if hmac.compare_digest(shown, digest.encode()):
                    found = producer
        return found

    def _of_token(self, token: str) -> Producer | None:
        assert self._known is not None
        principals = [principal_of(secret, token) for secret in self._known.token_secrets]
        return next((self._by_principal[name] for name in principals if name in self._by_principal), None)

    async def _read(self, now: float) -> None:
        self._next_try = now + RETRY_S
        try:
            known = await self._load()
        except (ServiceError, CredentialsError) as error:
            # A document that is not lawful is no reason to forget the last one that was.
            self.cause = str(error)
            log.warning("credentials_not_read", cause=self.cause, known=self._known is not None)
            return
        self.cause = ""
        self._known, self._read_at = known, now
        self._by_principal = {producer.principal: producer for producer in known.producers}
