"""The environment ladder and what refuses a rung (architecture.md, Environment ladder); free of what a cold start would wait for."""

import ipaddress
from enum import StrEnum

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "host.docker.internal"})


class Rung(StrEnum):
    """The environment ladder."""

    LOCAL_PARITY = "local_parity"
    DEV_MIN = "dev_min"
    DEV_FULL = "dev_full"
    PROD_TARGET = "prod_target"


class KafkaSecurity(StrEnum):
    """How a client speaks to the bus."""

    PLAINTEXT = "PLAINTEXT"
    SASL_IAM = "SASL_IAM"


class PostureError(Exception):
    """The settings break the posture of the rung; `reasons` holds all of them."""

    def __init__(self, rung: str, reasons: list[str]) -> None:
        super().__init__(f"FP_ENV={rung} refuses to start:\n" + "\n".join(f"  - {reason}" for reason in reasons))
        self.reasons = reasons


def is_local(host: str) -> bool:
    """Whether a host is this machine: loopback, unspecified, or a name of it."""
    if host.lower() in _LOCAL_NAMES or host == "":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
