"""`farthing keys`: create, list, rotate and revoke API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import click

from farthing.cli.output import json_option, note, print_json, print_table

_DAY_S = 86_400


@click.group()
def keys() -> None:
    """Create, list, rotate and revoke API keys."""


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["caller", "viewer", "admin"]), default="caller")
@click.option("--team", help="Team that its spend belongs to.")
@click.option("--model", "models", multiple=True, help="Model it may call, `*` allowed; repeat.")
@click.option("--face", "faces", multiple=True, help="API it may use (openai, …); repeat.")
@click.option("--tag", "tags", multiple=True, help="Tag that all of its calls carry; repeat.")
@click.option("--cache", is_flag=True, help="May answer from the cache.")
@click.option("--days", type=click.IntRange(min=1), help="Days until it expires.")
@json_option
def create(
    name: str,
    role: Literal["caller", "viewer", "admin"],
    team: str | None,
    models: tuple[str, ...],
    faces: tuple[str, ...],
    tags: tuple[str, ...],
    cache: bool,
    days: int | None,
    as_json: bool,
) -> None:
    """Make a key. It is shown once and cannot be shown again."""
    from farthing.accounts.keys import Scope
    from farthing.base.clock import SystemClock
    from farthing.cli.ledgers import with_accounts

    expires_at = None if days is None else int(SystemClock().now()) + days * _DAY_S
    scope = Scope(models=models, faces=faces, tags=tags, cache=cache)
    made = with_accounts(
        lambda accounts: accounts.keys.create(
            name, role=role, team=team, scope=scope, expires_at=expires_at
        )
    )
    _show(made.key.id, made.secret, as_json=as_json)


@keys.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the keys, the revoked ones too."""
    from farthing.base.clock import SystemClock
    from farthing.cli.ledgers import with_accounts

    found = with_accounts(lambda accounts: accounts.keys.list())
    if as_json:
        print_json(found)
        return
    now = SystemClock().now()
    rows = []
    for key in found:
        is_over = key.expires_at is not None and key.expires_at <= now
        state = "revoked" if key.revoked_at else "expired" if is_over else "good"
        models = ", ".join(key.scope.models) or "all"
        rows.append((key.name, key.id, key.role, key.team, models, state, _day(key.expires_at)))
    print_table(
        ["name", "id", "role", "team", "models", "state", "expires"],
        rows,
        empty="There is no key. Create one with `farthing keys create NAME`.",
    )


@keys.command()
@click.argument("key")
@click.option(
    "--grace-hours",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    help="How long the old one stays good.",
)
@json_option
def rotate(key: str, grace_hours: int, as_json: bool) -> None:
    """Give a key (name or id) a new secret."""
    from farthing.cli.ledgers import with_accounts

    made = with_accounts(lambda accounts: accounts.keys.rotate(key, grace_s=grace_hours * 3600))
    _show(made.key.id, made.secret, as_json=as_json)


@keys.command()
@click.argument("key")
@json_option
def revoke(key: str, as_json: bool) -> None:
    """End a key (name or id); a running gateway refuses it within a second."""
    from farthing.cli.ledgers import with_accounts

    ended = with_accounts(lambda accounts: accounts.keys.revoke(key))
    if as_json:
        print_json(ended)
        return
    click.echo(f"Revoked '{ended.name}' ({ended.id}).")


def _show(key_id: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": key_id, "key": secret})
        return
    click.echo(secret)
    note(f"This is key {key_id}. Keep it now: it is not stored and cannot be shown again.")


def _day(unix_s: int | None) -> str:
    return "never" if unix_s is None else datetime.fromtimestamp(unix_s, UTC).date().isoformat()
