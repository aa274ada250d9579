"""The admin API: deployments' health, settings, reload, and (from `bookkeeping`) keys and money."""

from __future__ import annotations

import msgspec

from farthing.base.config.loader import Loaded
from farthing.base.config.view import Row, rows
from farthing.core.errors import ConflictError
from farthing.gateway.client import DeploymentHealth
from farthing.server.faces import bookkeeping
from farthing.server.faces.authority import encode_error, operation, read_key
from farthing.server.faces.face import Face, Operation, Visit, send_json


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload put in force, and what waits for the next start (dotted names)."""

    changed: tuple[str, ...]
    not_applied: tuple[str, ...]
    warnings: tuple[str, ...]


async def deployments(visit: Visit) -> list[DeploymentHealth]:
    """GET /admin/deployments"""
    return visit.gateway.health()


async def config(visit: Visit) -> list[Row]:
    """GET /admin/config"""
    return rows(Loaded(settings=visit.gateway.settings))


async def reload(visit: Visit) -> Reloaded:
    """POST /admin/reload. Raises ConfigError (409) for settings with a mistake; the old ones stay."""
    if visit.desk.reload is None:
        raise ConflictError(
            "This gateway was started without a settings file, so there is nothing to reload.",
            hint="Write one with `farthing config init` and start again.",
        )
    outcome = await visit.desk.reload()
    if outcome.error is not None:
        outcome.error.status = 409
        raise outcome.error
    return Reloaded(
        changed=outcome.changed, not_applied=outcome.not_applied, warnings=outcome.warnings
    )


async def document(visit: Visit) -> None:
    """GET /admin/openapi.json. Public: it says what any reader of the documentation knows."""
    from farthing.server.openapi import openapi_document

    await send_json(visit, openapi_document())


FACE = Face(
    name="admin",
    read_key=read_key,
    error_body=encode_error,
    is_control=True,
    operations=(
        *bookkeeping.OPERATIONS,
        operation(
            "GET",
            "/admin/deployments",
            deployments,
            "Health of every deployment",
            role="viewer",
            gives=list[DeploymentHealth],
        ),
        operation(
            "GET",
            "/admin/config",
            config,
            "The settings in force, secrets masked",
            role="viewer",
            gives=list[Row],
        ),
        operation(
            "POST",
            "/admin/reload",
            reload,
            "Read the settings file again",
            role="admin",
            gives=Reloaded,
        ),
        Operation(
            method="GET",
            path="/admin/openapi.json",
            handle=document,
            summary="This document",
        ),
    ),
)
