"""Who may use the admin API, and what an admin operation is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import msgspec

from farthing.core.calls import Caller
from farthing.core.errors import BadRequestError, FarthingError, PermissionDeniedError
from farthing.server.faces.face import Operation, Visit, bearer, identify, read_body
from farthing.wire.edge.exchange import Exchange
from farthing.wire.malformed import MALFORMED, complaint

AdminRole = Literal["viewer", "admin"]
T = TypeVar("T")


class AdminOperation(Operation, frozen=True, kw_only=True):
    """An operation with what the OpenAPI document says of it.

    role: the least that a key must be. takes, gives: types of the bodies. query: parameters and their help.
    status: of a good answer.
    """

    role: AdminRole
    gives: Any
    takes: Any = None
    query: dict[str, str] = {}
    status: int = 200


def operation(
    method: str,
    path: str,
    answer: Callable[[Visit], Awaitable[Any]],
    summary: str,
    *,
    role: AdminRole,
    gives: Any,
    takes: Any = None,
    query: dict[str, str] | None = None,
    status: int = 200,
) -> AdminOperation:
    """An operation whose `answer` returns what is sent as JSON, once the caller's role is checked."""

    async def handle(visit: Visit) -> None:
        await authorise(visit, role)
        body = msgspec.json.encode(await answer(visit))
        await visit.exchange.send(status, body, ((b"cache-control", b"no-store"),))

    return AdminOperation(
        method=method,
        path=path,
        handle=handle,
        summary=summary,
        role=role,
        gives=gives,
        takes=takes,
        query=query or {},
        status=status,
    )


async def authorise(visit: Visit, role: AdminRole) -> Caller:
    """The caller, when the key's role allows it; without keys, whoever calls from this machine.

    Raises AuthenticationError, PermissionDeniedError.
    """
    caller = await identify(visit)
    if caller.is_local or caller.role in ("admin", role):
        return caller
    raise PermissionDeniedError(
        f"This key has the role '{caller.role}', and this needs '{role}'.",
        hint=f"Create one with `farthing keys create NAME --role {role}`.",
    )


async def decode_body(visit: Visit, kind: type[T]) -> T:
    """The body as a record. Raises BadRequestError that names the field at fault."""
    body = await read_body(visit)
    try:
        return msgspec.json.decode(body, type=kind)
    except MALFORMED as error:
        told = complaint(error, body)
        raise BadRequestError(told.message, hint=told.hint, param=told.param) from None


def read_key(exchange: Exchange) -> str | None:
    """The key, as any of the vendors' clients would send it."""
    return bearer(exchange) or exchange.header("x-api-key") or exchange.header("api-key")


def encode_error(error: FarthingError) -> bytes:
    """`{"error": {"code", "message", "hint", "param", "retryable"}}`"""
    return msgspec.json.encode(
        {
            "error": {
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "param": error.param,
                "retryable": error.retryable,
            }
        }
    )
