"""Service tokens: only what this secret signed names a principal."""

import base64

import pytest

from spine.tokens import issue, principal_of

SECRET = "s3cret"
PRINCIPAL = "SYSTEM::case_management"
TOKEN = issue(SECRET, PRINCIPAL)
HEAD, VERSION, NAME, MAC = TOKEN.split(".")


def _named(principal: str) -> str:
    return base64.urlsafe_b64encode(principal.encode()).decode().rstrip("=")


@pytest.mark.parametrize("principal", [PRINCIPAL, "HUMAN::zoë", "a.b", "a", "ab", "abc"])
def test_a_token_names_who_it_was_issued_to(principal: str) -> None:
    assert principal_of(SECRET, issue(SECRET, principal)) == principal


def test_another_secret_s_token_is_refused() -> None:
    assert principal_of("other", TOKEN) is None


@pytest.mark.parametrize(
    "token",
    [
        f"{HEAD}.{VERSION}.{_named('HUMAN::root')}.{MAC}",
        f"{HEAD}.{VERSION}.{NAME}.{'0' * 64}",
        f"{HEAD}.{VERSION}.{NAME}.{MAC[:-1]}",
        f"{HEAD}.{VERSION}.{NAME}.",
        f"{HEAD}.{VERSION}.{NAME}",
        f"{HEAD}.v2.{NAME}.{MAC}",
        f"xx.{VERSION}.{NAME}.{MAC}",
        f"{TOKEN}.more",
        f"{HEAD}.{VERSION}.a.{MAC}",
        f"{HEAD}.{VERSION}._w.{MAC}",
        "",
        "...",
        "garbage",
    ],
)
def test_what_this_secret_did_not_sign_is_refused(token: str) -> None:
    assert principal_of(SECRET, token) is None


@pytest.mark.parametrize("token", ["st.v1.YQ.é", "st.v1.é.x", "st.v1.\xff.\xff", "st.v1.YQ.\u2028"])
def test_a_token_that_is_not_ascii_is_no_token(token: str) -> None:
    assert principal_of("secret", token) is None
