"""The models that a caller may name, for the faces' lists."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Caller
from farthing.core.errors import PermissionDeniedError
from farthing.core.models import Deployment, Kind, Route
from farthing.gateway.client import Gateway


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One name that can be called. provider: of its first deployment."""

    name: str
    provider: str
    kind: Kind
    is_simulated: bool
    context_tokens: int | None
    max_output_tokens: int | None


def list_models(gateway: Gateway, caller: Caller, face: str) -> list[Listed]:
    """Every name in the directory that the key's scopes allow, sorted."""
    directory = gateway.directory
    return [
        _listed(name, directory.route(name))
        for name in directory.names()
        if _may_call(gateway, caller, name, face)
    ]


def find_model(gateway: Gateway, caller: Caller, name: str, face: str) -> Listed:
    """One of them. Raises UnknownModelError, PermissionDeniedError."""
    gateway.accounts.check_scope(caller, model=name, face=face)
    return _listed(name, gateway.directory.route(name))


def _may_call(gateway: Gateway, caller: Caller, name: str, face: str) -> bool:
    try:
        gateway.accounts.check_scope(caller, model=name, face=face)
    except PermissionDeniedError:
        return False
    return True


def _listed(name: str, route: Route) -> Listed:
    deployments: list[Deployment] = [d for group in route.groups for d in group]
    first = deployments[0]
    return Listed(
        name=name,
        provider=first.provider,
        kind=first.kind,
        is_simulated=all(d.is_simulated for d in deployments),
        context_tokens=first.context_tokens,
        max_output_tokens=first.max_output_tokens,
    )
