"""Keys, budgets, spend and open holds over the admin API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from farthing.accounts.accounts import Key, SpendQuery, SpendRow, Unsettled
from farthing.accounts.budgets import Budget, BudgetState
from farthing.accounts.keys import NewKey, Scope
from farthing.accounts.ledger import By
from farthing.core.calls import Role
from farthing.core.errors import BadRequestError, ConflictError
from farthing.core.money import parse_dollars
from farthing.server.faces.authority import AdminOperation, decode_body, operation
from farthing.server.faces.face import Visit

Name = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=r"^[^\s/\x00-\x1f][^/\x00-\x1f]*$")
]
#: The end of the year 9999, which is as far as dates go.
LAST_SECOND = 253_402_300_799
#: An exact amount as text: `"25"`, `"0.50"`.
Dollars = Annotated[str, Meta(max_length=30, description="Dollars as text, up to nine decimals")]


class KeyWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make. models, faces: what it may call, with `*`; empty: all. expires_at: unix seconds."""

    name: Name
    role: Role = "caller"
    team: Name | None = None
    models: tuple[str, ...] = ()
    faces: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cache: bool = False
    expires_at: Annotated[int, Meta(ge=0, le=LAST_SECOND)] | None = None


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the old secret stays good, seconds."""

    grace_s: Annotated[int, Meta(ge=0, le=90 * 86_400)] = 0


class BudgetWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A budget's limit and what counts against it; None: anything."""

    dollars: Dollars
    window: Literal["day", "week", "month", "total"] = "month"
    key: str | None = None
    team: str | None = None
    model: str | None = None
    tag: str | None = None
    alert_at: tuple[Annotated[int, Meta(ge=1)], ...] = (80, 100)


class Confirmation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the provider charged for a call."""

    dollars: Dollars


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed or decided."""

    name: str


async def list_keys(visit: Visit) -> list[Key]:
    """GET /admin/keys"""
    return await visit.gateway.accounts.keys.list()


async def create_key(visit: Visit) -> NewKey:
    """POST /admin/keys. The secret is in this answer and nowhere else."""
    wish = await decode_body(visit, KeyWish)
    scope = Scope(models=wish.models, faces=wish.faces, tags=wish.tags, cache=wish.cache)
    return await visit.gateway.accounts.keys.create(
        wish.name, role=wish.role, team=wish.team, scope=scope, expires_at=wish.expires_at
    )


async def rotate_key(visit: Visit) -> NewKey:
    """POST /admin/keys/{key}/rotate"""
    rotation = await decode_body(visit, Rotation)
    keys = visit.gateway.accounts.keys
    return await keys.rotate(visit.parameters["key"], grace_s=rotation.grace_s)


async def revoke_key(visit: Visit) -> Key:
    """DELETE /admin/keys/{key}"""
    return await visit.gateway.accounts.keys.revoke(visit.parameters["key"])


async def list_budgets(visit: Visit) -> list[BudgetState]:
    """GET /admin/budgets"""
    return await visit.gateway.accounts.budgets()


async def set_budget(visit: Visit) -> Budget:
    """PUT /admin/budgets/{name}. Raises ConflictError for one that stands in the settings file."""
    name = visit.parameters["name"]
    if name in visit.gateway.settings.budgets:
        raise ConflictError(
            f"The budget '{name}' stands in the settings file.", hint="Change it there."
        )
    wish = await decode_body(visit, BudgetWish)
    budget = Budget(
        name=name,
        nanodollars=_amount(wish.dollars),
        window=wish.window,
        key=wish.key,
        team=wish.team,
        model=wish.model,
        tag=wish.tag,
        alert_at=wish.alert_at,
    )
    await visit.gateway.accounts.set_budget(budget)
    return budget


async def remove_budget(visit: Visit) -> Done:
    """DELETE /admin/budgets/{name}"""
    await visit.gateway.accounts.remove_budget(visit.parameters["name"])
    return Done(name=visit.parameters["name"])


async def spend(visit: Visit) -> list[SpendRow]:
    """GET /admin/spend"""
    try:
        by = msgspec.convert(visit.exchange.query("by") or "key", By)
    except msgspec.ValidationError:
        raise BadRequestError(
            "The query parameter by has an unknown value.",
            hint=f"Use one of {', '.join(get_args(By))}.",
            param="by",
        ) from None
    query = SpendQuery(by=by, since=_moment(visit, "since"), until=_moment(visit, "until"))
    return await visit.gateway.accounts.spend(query)


async def unsettled(visit: Visit) -> list[Unsettled]:
    """GET /admin/unsettled"""
    return await visit.gateway.accounts.unsettled()


async def confirm(visit: Visit) -> Done:
    """POST /admin/unsettled/{call}/confirm"""
    confirmation = await decode_body(visit, Confirmation)
    await visit.gateway.accounts.confirm(visit.parameters["call"], _amount(confirmation.dollars))
    return Done(name=visit.parameters["call"])


async def release(visit: Visit) -> Done:
    """POST /admin/unsettled/{call}/release"""
    await visit.gateway.accounts.release_unsettled(visit.parameters["call"])
    return Done(name=visit.parameters["call"])


def _amount(text: str) -> int:
    try:
        return parse_dollars(text)
    except ValueError as error:
        raise BadRequestError(f"The field 'dollars' is wrong: {error}.", param="dollars") from None


def _moment(visit: Visit, name: str) -> float | None:
    """A query parameter that is unix seconds or an ISO date or time (UTC unless it says otherwise)."""
    text = visit.exchange.query(name)
    if not text:
        return None
    try:
        if text.isascii() and text.isdecimal():
            return float(text[:12])
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadRequestError(
            f"The query parameter {name} is no time.",
            hint="Use a date such as 2026-11-01, or unix seconds.",
            param=name,
        ) from None


_SPAN = {
    "since": "First moment: ISO date or time (UTC), or unix seconds",
    "until": "End of the span, exclusive",
}

OPERATIONS: tuple[AdminOperation, ...] = (
    operation("GET", "/admin/keys", list_keys, "All keys", role="viewer", gives=list[Key]),
    operation(
        "POST",
        "/admin/keys",
        create_key,
        "Make a key; its secret is shown once",
        role="admin",
        takes=KeyWish,
        gives=NewKey,
        status=201,
    ),
    operation(
        "POST",
        "/admin/keys/{key}/rotate",
        rotate_key,
        "Give a key a new secret",
        role="admin",
        takes=Rotation,
        gives=NewKey,
    ),
    operation("DELETE", "/admin/keys/{key}", revoke_key, "End a key", role="admin", gives=Key),
    operation(
        "GET",
        "/admin/budgets",
        list_budgets,
        "Budgets with what is spent and held",
        role="viewer",
        gives=list[BudgetState],
    ),
    operation(
        "PUT",
        "/admin/budgets/{name}",
        set_budget,
        "Make or change a budget",
        role="admin",
        takes=BudgetWish,
        gives=Budget,
    ),
    operation(
        "DELETE",
        "/admin/budgets/{name}",
        remove_budget,
        "Remove a budget",
        role="admin",
        gives=Done,
    ),
    operation(
        "GET",
        "/admin/spend",
        spend,
        "What was spent",
        role="viewer",
        gives=list[SpendRow],
        query={"by": "Sum by key, model, team, tag or day", **_SPAN},
    ),
    operation(
        "GET",
        "/admin/unsettled",
        unsettled,
        "Calls whose cost is not final",
        role="viewer",
        gives=list[Unsettled],
    ),
    operation(
        "POST",
        "/admin/unsettled/{call}/confirm",
        confirm,
        "Book what the provider charged for such a call",
        role="admin",
        takes=Confirmation,
        gives=Done,
    ),
    operation(
        "POST",
        "/admin/unsettled/{call}/release",
        release,
        "Book nothing for such a call",
        role="admin",
        gives=Done,
    ),
)
