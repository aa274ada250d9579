"""`farthing budget`: set, list and remove budgets."""

from __future__ import annotations

from typing import Literal

import click

from farthing.cli.output import Column, json_option, print_json, print_table


@click.group()
def budget() -> None:
    """Set and show budgets."""


@budget.command(name="set")
@click.argument("name")
@click.argument("dollars")
@click.option(
    "--window",
    type=click.Choice(["day", "week", "month", "total"]),
    default="month",
    show_default=True,
    help="UTC calendar window.",
)
@click.option("--key", help="Only this key (name or id).")
@click.option("--team", help="Only this team.")
@click.option("--model", help="Only this model or route.")
@click.option("--tag", help="Only calls with this tag.")
@click.option(
    "--alert",
    "alert_at",
    multiple=True,
    type=click.IntRange(1, 1000),
    help="Percentage that raises an alert; repeat. Unset: 80 and 100.",
)
@json_option
def set_(
    name: str,
    dollars: str,
    window: Literal["day", "week", "month", "total"],
    key: str | None,
    team: str | None,
    model: str | None,
    tag: str | None,
    alert_at: tuple[int, ...],
    as_json: bool,
) -> None:
    """Make or change a budget of that many DOLLARS (25, 0.50)."""
    from farthing.accounts.accounts import Accounts
    from farthing.accounts.budgets import Budget
    from farthing.cli.ledgers import with_accounts
    from farthing.core.errors import ConflictError
    from farthing.core.money import format_dollars, parse_dollars

    try:
        amount = parse_dollars(dollars)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="DOLLARS") from None
    made = Budget(
        name=name,
        nanodollars=amount,
        window=window,
        key=key,
        team=team,
        model=model,
        tag=tag,
        alert_at=alert_at or (80, 100),
    )

    async def job(accounts: Accounts) -> None:
        states = await accounts.budgets()
        if any(s.budget.name == name and s.budget.is_configured for s in states):
            raise ConflictError(
                f"The budget '{name}' stands in the settings file.", hint="Change it there."
            )
        await accounts.set_budget(made)

    with_accounts(job)
    if as_json:
        print_json(made)
        return
    click.echo(f"Budget '{name}': {format_dollars(amount)}, window {window}.")


@budget.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the budgets with what is spent, held and left."""
    from farthing.cli.ledgers import with_accounts
    from farthing.core.money import format_dollars

    states = with_accounts(lambda accounts: accounts.budgets())
    if as_json:
        print_json([{"state": state, "left": state.left} for state in states])
        return
    rows = []
    for state in states:
        rule = state.budget
        parts = {"key": rule.key, "team": rule.team, "model": rule.model, "tag": rule.tag}
        applies = ", ".join(f"{name} {value}" for name, value in parts.items() if value)
        amounts = (rule.nanodollars, state.spent, state.reserved, state.left)
        rows.append((rule.name, rule.window, applies or "all", *map(format_dollars, amounts)))
    money = [Column(title, "right") for title in ("limit", "spent", "held", "left")]
    print_table(
        ["budget", "window", "applies to", *money],
        rows,
        empty="There is no budget. Set one with `farthing budget set NAME DOLLARS`.",
    )


@budget.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a budget that was set by command or over the admin API."""
    from farthing.cli.ledgers import with_accounts

    with_accounts(lambda accounts: accounts.remove_budget(name))
    if as_json:
        print_json({"removed": name})
        return
    click.echo(f"Removed budget '{name}'.")
