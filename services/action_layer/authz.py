"""Authorisation of intents by a versioned policy (domain.md 6). What the policy does not name is denied."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from laws.actions import ActionKind, ActionOrigin
from laws.contracts.action import ActionIntent
from laws.fields import Label
from laws.reasons import Reason


class Posture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether anything is executed at all."""

    mode: Label
    allow_execution: bool


class Authz(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of the policy. Actors are prefixes of principals."""

    policy_id: Label
    revision: Label
    posture: Posture
    kinds_by_origin: dict[ActionOrigin, tuple[ActionKind, ...]]
    actors_by_origin: dict[ActionOrigin, tuple[str, ...]]

    @property
    def policy_rev(self) -> str:
        """Name and revision, as outputs carry them."""
        return f"{self.policy_id}@{self.revision}"


def load_authz(path: Path) -> tuple[Authz, dict[str, Any]]:
    """The policy and its content as JSON. Raises msgspec.ValidationError naming the field."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return msgspec.convert(content, Authz), content


def denial(authz: Authz, intent: ActionIntent) -> Reason | None:
    """Why an intent may not be executed, or None."""
    if not authz.posture.allow_execution:
        return Reason.POSTURE_BLOCK
    kinds = authz.kinds_by_origin.get(intent.origin)
    if kinds is None:
        return Reason.AUTHZ_ORIGIN_DENY
    if intent.action_kind not in kinds:
        return Reason.AUTHZ_ACTION_KIND_DENY
    if not intent.actor_principal.startswith(authz.actors_by_origin.get(intent.origin, ())):
        return Reason.AUTHZ_ACTOR_PRINCIPAL_DENY
    return None
