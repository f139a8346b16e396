"""A service's declaration without anything outside: to replay it, nothing needs to be reached."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

from spine.service import Service
from spine.settings import KafkaSecurity, Rung, Settings

# Where nobody listens: a policy that called the outside would fail here, and a task is never run by a replay.
_NOWHERE = "http://127.0.0.1:1"


def offline_settings(phase_id: str = "P6") -> Settings:
    """Settings that name nothing outside. `phase_id` is the deployment's, because outputs carry it."""
    return Settings(
        env=Rung.LOCAL_PARITY,
        release_id="replay",
        kafka_bootstrap="127.0.0.1:1",
        kafka_security=KafkaSecurity.PLAINTEXT,
        database_url="postgresql://nobody@127.0.0.1:1/none",
        http_port=0,
        token_secret="",
        provider_url=_NOWHERE,
        label_store_url=_NOWHERE,
        phase_id=phase_id,
    )


def declared(module: str, settings: Settings, pack: Path | None = None) -> Service:
    """The service of `<module>.app`, with another pack where one is given.

    Raises ModuleNotFoundError for a module that is not installed, ValueError for a service that decides by no pack.
    """
    build: Callable[..., Service] = importlib.import_module(f"{module}.app").build
    if pack is None:
        return build(settings)
    if "pack_file" not in inspect.signature(build).parameters:
        raise ValueError(f"service {module!r} has no pack: only a service whose build takes pack_file can be replayed with another")
    return build(settings, pack)
