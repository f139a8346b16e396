"""Who may push what, and how much (domain.md 2.14): the document that the edge reads from SSM, or locally from its environment. Pure."""

from typing import Annotated

import msgspec
from msgspec import Meta

from ingress.policy import TYPE_OF_CLASS

_PRINCIPAL = "^(SYSTEM|HUMAN)::[A-Za-z0-9_.:-]{1,100}\\Z"
KeyHash = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]


class CredentialsError(ValueError):
    """The document says something that can't be meant."""


class Producer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One producer. Its principal is the actor of everything that it sends; what a body says about an actor is not looked at."""

    principal: Annotated[str, Meta(pattern=_PRINCIPAL)]
    per_second: Annotated[int, Meta(ge=1)]
    """Events that it may send for ever. The shares of all producers together are no more than the edge's own rate."""
    burst: Annotated[int, Meta(ge=1)]
    """Events that it may send at once after a pause."""
    key_hashes: Annotated[tuple[KeyHash, ...], Meta(max_length=2)] = ()
    """SHA-256 of its API keys: one, or two while a key is rotated. None: it comes with a service token."""
    classes: tuple[str, ...] = ()
    """Event classes that it may send; none named: all that the edge takes."""
    runs: tuple[str, ...] = ()
    """Runs that it may send; none named: whichever is active."""

    def may_send(self, platform_run_id: str, event_class: str) -> bool:
        """Whether the allow-lists let an event through."""
        return (not self.runs or platform_run_id in self.runs) and (not self.classes or event_class in self.classes)


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All producers. A principal that is not listed has no token that counts."""

    producers: Annotated[tuple[Producer, ...], Meta(min_length=1)]
    token_secrets: Annotated[tuple[Annotated[str, Meta(min_length=16)], ...], Meta(max_length=2)] = ()
    """What service tokens are signed with: one, or two while it is rotated."""


_DECODER = msgspec.json.Decoder(Credentials)


def read_credentials(document: str, per_second: int) -> Credentials:
    """The checked document for an edge of `per_second` events a second. Raises CredentialsError, which never holds a secret."""
    try:
        credentials = _DECODER.decode(document)
    except msgspec.MsgspecError as error:
        raise CredentialsError(f"the document is not lawful: {error}") from None
    principals = [producer.principal for producer in credentials.producers]
    hashes = [digest for producer in credentials.producers for digest in producer.key_hashes]
    if len(set(principals)) != len(principals) or len(set(hashes)) != len(hashes):
        raise CredentialsError("a principal or a key is listed twice: a credential says who one producer is")
    for producer in credentials.producers:
        if unknown := set(producer.classes) - TYPE_OF_CLASS.keys():
            raise CredentialsError(f"{producer.principal}: no class of the edge is called {', '.join(sorted(unknown))}")
    if (shares := sum(producer.per_second for producer in credentials.producers)) > per_second:
        # Guaranteed shares: whoever uses up its own takes nothing from anybody else.
        raise CredentialsError(f"the producers' shares are {shares} events a second, the edge's rate is {per_second}")
    return credentials
