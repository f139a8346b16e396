"""AWS Signature Version 4 for the two shapes of request that the edge sends: POST / with a JSON body, and one object of S3.

botocore's signer is general and costs six times as much, twice an event; a test holds this one against it, byte for byte.
"""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


class FrozenCredentials(Protocol):
    """Keys of one moment, as botocore's credentials freeze them."""

    access_key: str
    secret_key: str
    token: str | None


class Credentials(Protocol):
    """Where keys come from; a role's change under our hands."""

    def get_frozen_credentials(self) -> FrozenCredentials:
        """The keys that are good now."""
        ...


class _Form(NamedTuple):
    """A request's signature but for its body."""

    canonical: str
    to_sign: str
    key: bytes
    headers: dict[str, str]
    authorization: str

    def signed(self, digest: str) -> dict[str, str]:
        """The headers of the request whose body has this SHA-256."""
        request = hashlib.sha256((self.canonical + digest).encode()).hexdigest()
        signature = hmac.digest(self.key, (self.to_sign + request).encode(), "sha256").hex()
        return {**self.headers, "authorization": self.authorization + signature}


class Signer:
    """Headers for requests to one service in one region."""

    def __init__(
        self, url: str, service: str, region: str, credentials: Credentials, content_type: str = "application/x-amz-json-1.0"
    ) -> None:
        # A port that is the scheme's own is no part of the Host header that the client will send.
        parts = urlsplit(url)
        own = {"http": 80, "https": 443}.get(parts.scheme)
        self._host = parts.hostname or ""
        if parts.port is not None and parts.port != own:
            self._host += f":{parts.port}"
        self._service = service
        self._region = region
        self._credentials = credentials
        self._content_type = content_type
        # What requests of one second share but for their bodies, by target.
        self._forms: dict[str, _Form] = {}
        self._forms_of: tuple[int, str, str, str | None] = (0, "", "", None)
        self._key_of: tuple[str, str] = ("", "")
        self._key = b""

    def headers(self, target: str, body: bytes, now: datetime | None = None) -> dict[str, str]:
        """The headers of a POST of `body` to `target` (service version and operation), signed for `now`."""
        keys = self._credentials.get_frozen_credentials()
        second = int(time.time() if now is None else now.timestamp())
        if (of := (second, keys.access_key, keys.secret_key, keys.token)) != self._forms_of:
            self._forms, self._forms_of = {}, of
        form = self._forms.get(target)
        if form is None:
            fields = {"content-type": self._content_type, "x-amz-target": target}
            form = self._forms[target] = self._form("POST", "/", fields, datetime.fromtimestamp(second, UTC), keys)
        return form.signed(hashlib.sha256(body).hexdigest())

    def object_headers(self, method: str, path: str, body: bytes, fields: dict[str, str], now: datetime | None = None) -> dict[str, str]:
        """The headers of a request to S3 for `path`, which needs no escaping; `fields` are signed as well. Names are lower case."""
        digest = hashlib.sha256(body).hexdigest()
        fields = {**fields, "x-amz-content-sha256": digest}
        keys = self._credentials.get_frozen_credentials()
        return self._form(method, path, fields, now or datetime.now(UTC), keys).signed(digest)

    def _form(self, method: str, path: str, fields: dict[str, str], now: datetime, keys: FrozenCredentials) -> "_Form":
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        headers = {"host": self._host, "x-amz-date": stamp, **fields}
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        names = sorted(headers)
        canonical = "\n".join([method, path, "", *(f"{name}:{headers[name]}" for name in names), "", ";".join(names), ""])
        del headers["host"]  # the client writes it itself
        authorization = f"{_ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature="
        key = self._signing_key(stamp[:8], keys.secret_key)
        return _Form(canonical, f"{_ALGORITHM}\n{stamp}\n{scope}\n", key, headers, authorization)

    def _signing_key(self, day: str, secret: str) -> bytes:
        if (day, secret) != self._key_of:
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._key_of = key, (day, secret)
        return self._key
