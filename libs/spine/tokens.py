"""Service tokens: who calls a writer boundary (domain.md 2.14). The actor comes from the credential, never from the body."""

import base64
import binascii
import hashlib
import hmac

_VERSION = "v1"


def issue(secret: str, principal: str) -> str:
    """st.v1.<base64url(principal)>.<hex HMAC-SHA256(secret, "v1|principal")>."""
    encoded = base64.urlsafe_b64encode(principal.encode()).decode().rstrip("=")
    return f"st.{_VERSION}.{encoded}.{_mac(secret, principal)}"


def principal_of(secret: str, token: str) -> str | None:
    """The principal of a token, or None for one that this secret did not sign. Constant time in the signature."""
    parts = token.split(".")
    # A header may hold any byte; what is not ASCII is no token, and must not become an error of ours.
    if not token.isascii() or len(parts) != 4 or parts[:2] != ["st", _VERSION]:
        return None
    try:
        principal = base64.urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    return principal if hmac.compare_digest(_mac(secret, principal), parts[3]) else None


def _mac(secret: str, principal: str) -> str:
    return hmac.new(secret.encode(), f"{_VERSION}|{principal}".encode(), hashlib.sha256).hexdigest()
