"""`farthing prices`: list, show and compare prices; import those of others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farthing.cli.output import Column, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from farthing.core.models import Model
    from farthing.core.prices import Price
    from farthing.providers.catalogue import Catalogue

#: The call that `show` prices as an example.
EXAMPLE_INPUT_TOKENS = 1000
EXAMPLE_OUTPUT_TOKENS = 500


@click.group()
def prices() -> None:
    """Show, compare and import prices."""


@prices.command(name="list")
@click.option("--provider", help="Only this vendor: openai, azure, anthropic, google, …")
@json_option
def list_(provider: str | None, as_json: bool) -> None:
    """List the models whose price is known, in dollars per million tokens."""
    catalogue = _catalogue()
    _check_vendor(catalogue, provider)
    models = list(catalogue.models(provider))
    if as_json:
        print_json([_as_json(model) for model in models])
        return
    print_table(
        [
            "provider",
            "model",
            Column("input", "right"),
            Column("cached", "right"),
            Column("output", "right"),
            Column("context", "right"),
            "retires",
            "of",
        ],
        [_row(model) for model in models],
    )
    note(
        "Dollars per million tokens, for an ordinary call; `farthing prices show MODEL` tells all tiers."
    )


@prices.command()
@click.argument("model")
@click.option("--provider", help="At this vendor; without it, at the model's maker.")
@click.option(
    "--scope",
    type=click.Choice(["global", "data_zone", "regional"]),
    help="Azure: the deployment's scope.",
)
@json_option
def show(model: str, provider: str | None, scope: str | None, as_json: bool) -> None:
    """Show every price of a model: tiers, steps, source, date, and what an example call costs."""
    from farthing.core.errors import UnknownModelError, did_you_mean

    catalogue = _catalogue()
    _check_vendor(catalogue, provider)
    found = catalogue.model(provider, model, scope=scope) if provider else catalogue.find(model)
    if found is None:
        vendors = (provider,) if provider else catalogue.vendors()
        names = {name for vendor in vendors for name in catalogue.names(vendor)}
        near = did_you_mean(model, names) or "`farthing prices list` shows what is known."
        raise UnknownModelError(f"No price of '{model}' is known.", hint=near)
    if as_json:
        print_json(_as_json(found))
        return
    _show_facts(found)
    if found.price is not None:
        _show_price(found.price)


@prices.command()
@click.argument(
    "saved", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False
)
@json_option
def diff(saved: Path | None, as_json: bool) -> None:
    """What changed since SAVED (an output of `prices list --json`); without it, what the overlays change."""
    catalogue = _catalogue()
    before = _saved(saved) if saved else _without_overlays()
    after = {(m.provider, m.name): _flat(m.price) for m in catalogue.models() if m.price}
    changes = [
        {"provider": vendor, "model": name, "rate": rate, "before": old, "after": new}
        for vendor, name in sorted(before.keys() | after.keys())
        for rate, old, new in _differences(before.get((vendor, name)), after.get((vendor, name)))
    ]
    if as_json:
        print_json(changes)
        return
    print_table(
        ["provider", "model", "rate", Column("before", "right"), Column("after", "right")],
        [list(change.values()) for change in changes],
        empty="No difference.",
    )


@prices.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write; without it .farthing/prices.toml, which is used from then on.",
)
@click.option("--date", help="Date of the figures (YYYY-MM-DD); without it the file's own.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@json_option
def import_(file: Path, output: Path | None, date: str | None, force: bool, as_json: bool) -> None:
    """Turn LiteLLM's price map (FILE, JSON) into an overlay, and say what could not be carried over."""
    from farthing.core.errors import ConflictError
    from farthing.providers import litellm_prices, overlay

    target = output or overlay.USER_OVERLAY
    if target.exists() and not force:
        raise ConflictError(f"{target} exists.", hint="Choose another --output, or use --force.")
    day = date or datetime.fromtimestamp(file.stat().st_mtime, tz=UTC).date().isoformat()
    converted = litellm_prices.convert(
        file.read_text(encoding="utf-8"), source=f"LiteLLM's price map, {file.name}", date=day
    )
    overlay.parse(converted.text, str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(converted.text, encoding="utf-8")
    if as_json:
        print_json({"file": str(target), "models": converted.models, "notes": converted.notes})
        return
    for line in converted.notes:
        note(line)
    click.echo(f"Wrote {converted.models} models to {target}; {len(converted.notes)} notes above.")


# --- figures ---


def dollars_per_million(picodollars: int | None) -> str:
    """A rate as vendors print it; a dash where it has no price of its own."""
    from farthing.core.money import format_dollars

    return "–" if picodollars is None else format_dollars(picodollars * 1000)


def _catalogue() -> Catalogue:
    from farthing.providers.catalogue import Catalogue

    return Catalogue.load()


def _check_vendor(catalogue: Catalogue, vendor: str | None) -> None:
    from farthing.core.errors import NotFoundError, did_you_mean

    if vendor is not None and vendor not in catalogue.vendors():
        known = catalogue.vendors()
        hint = did_you_mean(vendor, known) or f"Known: {', '.join(known)}."
        raise NotFoundError(f"There is no vendor '{vendor}' in the price data.", hint=hint)


def _row(model: Model) -> list[object]:
    rates = model.price.standard if model.price else None
    return [
        model.provider,
        model.name,
        dollars_per_million(rates.input if rates else None),
        dollars_per_million(rates.cached_input if rates else None),
        dollars_per_million(rates.output if rates else None),
        f"{model.context_tokens:,}" if model.context_tokens else "",
        model.retires,
        model.price.date if model.price else "",
    ]


def _as_json(model: Model) -> dict[str, Any]:
    return {
        "provider": model.provider,
        "model": model.name,
        "kind": model.kind,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": sorted(model.capabilities),
        "deprecated": model.deprecated,
        "retires": model.retires,
        "picodollars_per_token": _flat(model.price) if model.price else None,
        "source": model.price.source if model.price else model.source,
        "date": model.price.date if model.price else model.date,
    }


def _flat(price: Price) -> dict[str, int]:
    """`standard.input`, `batch.output`, `standard>200000.input`, …: every stated rate, in picodollars."""
    flat: dict[str, int] = {}
    for tier, rows in price.tiers.items():
        steps = [(tier, rows.rates)]
        steps += [(f"{tier}>{s.above_input_tokens}", s.rates) for s in rows.long_context]
        for name, rates in steps:
            for rate in rates.__struct_fields__:
                value = getattr(rates, rate)
                if value is not None and (value or rate in ("input", "output")):
                    flat[f"{name}.{rate}"] = value
    return flat


def _show_facts(model: Model) -> None:
    facts = [
        ("model", f"{model.name} at {model.provider} ({model.kind})"),
        ("context", f"{model.context_tokens:,} tokens" if model.context_tokens else "not known"),
        (
            "longest answer",
            f"{model.max_output_tokens:,} tokens" if model.max_output_tokens else "not known",
        ),
        ("capabilities", ", ".join(sorted(model.capabilities)) or "not known"),
        ("deprecated", model.deprecated or ""),
        ("retires", model.retires or ""),
        ("facts from", f"{model.source} ({model.date or 'no date'})"),
        (
            "price from",
            f"{model.price.source} ({model.price.date or 'no date'})"
            if model.price
            else "not known",
        ),
    ]
    for name, value in facts:
        if value:
            click.echo(f"{name:<15} {value}")


def _show_price(price: Price) -> None:
    flat = _flat(price)
    columns = list(dict.fromkeys(key.rpartition(".")[0] for key in flat))
    rates = list(dict.fromkeys(key.rpartition(".")[2] for key in flat))
    click.echo()
    print_table(
        ["$ per million", *(Column(_title(column), "right") for column in columns)],
        [
            [rate, *(_cell(rate, flat.get(f"{column}.{rate}")) for column in columns)]
            for rate in rates
        ],
    )
    click.echo()
    for tier, text in _examples(price):
        click.echo(
            f"{EXAMPLE_INPUT_TOKENS:,} tokens in and {EXAMPLE_OUTPUT_TOKENS} out, {tier}: {text}"
        )


def _title(column: str) -> str:
    tier, _, above = column.partition(">")
    return f"{tier}, input > {int(above):,}" if above else tier


def _cell(rate: str, value: int | None) -> str:
    if value is None:
        return "–"
    from farthing.core.money import format_dollars

    if rate in ("web_search", "request"):
        return f"{format_dollars(value // 1000)} each"
    return dollars_per_million(value)


def _examples(price: Price) -> Iterator[tuple[str, str]]:
    from farthing.core.money import format_dollars
    from farthing.core.prices import cost
    from farthing.core.usage import Usage

    usage = Usage(input_tokens=EXAMPLE_INPUT_TOKENS, output_tokens=EXAMPLE_OUTPUT_TOKENS)
    for tier in price.tiers:
        yield tier, format_dollars(cost(usage, price, tier=tier))


# --- differences ---

_Rates = dict[str, int]


def _saved(path: Path) -> dict[tuple[str, str], _Rates]:
    import msgspec

    from farthing.core.errors import BadRequestError

    try:
        rows = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
        return {
            (row["provider"], row["model"]): row["picodollars_per_token"]
            for row in rows
            if row["picodollars_per_token"] is not None
        }
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError) as error:
        raise BadRequestError(
            f"{path} is no saved price list.",
            hint="Make one with `farthing prices list --json > FILE`.",
        ) from error


def _without_overlays() -> dict[tuple[str, str], _Rates]:
    from farthing.base.clock import SystemClock
    from farthing.providers import pricedata
    from farthing.providers.catalogue import Catalogue

    today = datetime.fromtimestamp(SystemClock().now(), tz=UTC).date()
    plain = Catalogue(pricedata.load(), (), today=today)
    return {(m.provider, m.name): _flat(m.price) for m in plain.models() if m.price}


def _differences(
    before: _Rates | None, after: _Rates | None
) -> Iterator[tuple[str, str | None, str | None]]:
    if before is None or after is None:
        known = before if after is None else after
        yield "", *(("listed", None) if after is None else (None, "listed"))
        if known is after:
            for rate, value in (after or {}).items():
                yield rate, None, dollars_per_million(value)
        return
    for rate in dict.fromkeys([*before, *after]):
        if before.get(rate) != after.get(rate):
            yield rate, dollars_per_million(before.get(rate)), dollars_per_million(after.get(rate))
