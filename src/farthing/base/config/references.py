"""Checks that need more than one setting: names that point to nothing, pairs, amounts, files, addresses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from farthing.base.config.amounts import dollars, dollars_per_million
from farthing.base.config.positions import KeyPath
from farthing.base.config.schema import Mistake, dotted
from farthing.base.config.secrets import ENV, FILE
from farthing.base.config.settings import Budget, PriceSetting, Settings
from farthing.core.errors import did_you_mean

#: Names travel in HTTP headers and metric labels: visible ASCII only.
_NAME = re.compile(r"[!-~]+")
_RATES = (
    "input",
    "output",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "reasoning",
    "input_audio",
    "output_audio",
)


class Findings(msgspec.Struct, frozen=True):
    """Mistakes stop the start; warnings are told and lived with."""

    mistakes: list[Mistake]
    warnings: list[str]


def examine(settings: Settings, environ: Mapping[str, str]) -> Findings:
    """Everything that can be wrong although each value has its right type."""
    mistakes = [
        *_names(settings),
        *_server(settings),
        *_addresses(settings),
        *_deployments(settings),
        *_routes(settings),
        *_aliases(settings),
        *_budgets(settings),
        *_amounts(settings),
        *_secret_files(settings),
    ]
    warnings = [*_unset_variables(settings, environ), *_unlisted_fallbacks(settings)]
    return Findings(mistakes, warnings)


def _names(settings: Settings) -> Iterator[Mistake]:
    for table in ("providers", "deployments", "routes", "aliases", "budgets"):
        for name in getattr(settings, table):
            path = (table, name)
            if not _NAME.fullmatch(name):
                yield Mistake(
                    path,
                    f"{dotted(path)}: a name must be visible ASCII characters without spaces.",
                    "It travels in HTTP headers and metric labels.",
                )
            elif table == "providers" and "/" in name:
                hint = "The slash separates provider and model, as in openai/gpt-4o."
                yield Mistake(path, f"{dotted(path)}: a provider's name cannot contain '/'.", hint)


def _server(settings: Settings) -> Iterator[Mistake]:
    server = settings.server
    pair = {"tls_cert": server.tls_cert, "tls_key": server.tls_key}
    for name, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        path = ("server", name)
        file = pair[name]
        if file is None:
            continue
        if pair[other] is None:
            yield Mistake(
                path, f"{dotted(path)} is set but server.{other} is not.", "TLS needs both."
            )
        if not Path(file).expanduser().is_file():
            yield Mistake(path, f"{dotted(path)}: there is no file {file}.", "Correct the path.")


def _addresses(settings: Settings) -> Iterator[Mistake]:
    scheme, _, rest = settings.storage.url.partition(":")
    path: KeyPath = ("storage", "url")
    is_server = scheme in ("postgresql", "postgres") and rest.startswith("//")
    if not is_server and not (scheme == "sqlite" and rest):
        hint = "Write `sqlite:PATH` or `postgresql://user@host/database`."
        yield Mistake(path, "storage.url names no database that Farthing can use.", hint)
    urls: list[tuple[KeyPath, str | None]] = [
        (("providers", name, "base_url"), provider.base_url)
        for name, provider in settings.providers.items()
    ]
    urls.append((("alerts", "webhook_url"), settings.alerts.webhook_url))
    urls.append((("telemetry", "otlp_endpoint"), settings.telemetry.otlp_endpoint))
    for path, url in urls:
        if url is not None and not _is_http(url):
            hint = "Write it like `https://api.example.com/v1`."
            yield Mistake(path, f"{dotted(path)} is not an http:// or https:// address.", hint)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _deployments(settings: Settings) -> Iterator[Mistake]:
    for name, deployment in settings.deployments.items():
        if deployment.provider not in settings.providers:
            path = ("deployments", name, "provider")
            hint = did_you_mean(deployment.provider, settings.providers)
            hint = hint or f"Add a table [providers.{deployment.provider}] with its type."
            message = f"{dotted(path)}: there is no provider '{deployment.provider}'."
            yield Mistake(path, message, hint)


def _routes(settings: Settings) -> Iterator[Mistake]:
    for name, route in settings.routes.items():
        if name in settings.deployments and name not in route.deployments:
            path: KeyPath = ("routes", name)
            hint = "Rename one, or let the route contain the deployment of its name."
            yield Mistake(path, f"'{name}' is both a route and a deployment outside it.", hint)
        for index, member in enumerate(route.deployments):
            path = ("routes", name, "deployments", index)
            if member not in settings.deployments and not _is_at_provider(settings, member):
                near = did_you_mean(member, settings.deployments)
                hint = near or f"Add a table [deployments.{member}], or write provider/model."
                yield Mistake(path, f"{dotted(path)}: there is no deployment '{member}'.", hint)
            if member in route.deployments[:index]:
                yield Mistake(
                    path, f"{dotted(path)}: '{member}' is listed twice.", "Use its weight."
                )
        for index, target in enumerate(route.fallbacks):
            path = ("routes", name, "fallbacks", index)
            if target == name:
                yield Mistake(
                    path, f"{dotted(path)}: the route falls back to itself.", "Remove it."
                )
            elif not _exists(settings, target) and not _could_be_catalogued(settings, target):
                hint = (
                    did_you_mean(target, _callable(settings))
                    or "Name a route, deployment or model."
                )
                yield Mistake(path, f"{dotted(path)}: there is no route or model '{target}'.", hint)


def _aliases(settings: Settings) -> Iterator[Mistake]:
    for name, target in settings.aliases.items():
        path = ("aliases", name)
        for kind in ("routes", "deployments"):
            if name in getattr(settings, kind):
                message = f"'{name}' is both an alias and one of the {kind}."
                yield Mistake(path, message, "Rename one of them.")
        cycle = _cycle(settings.aliases, name)
        if cycle:
            message = f"{dotted(path)} goes in a circle: {' → '.join(cycle)}."
            yield Mistake(path, message, "Let one of them name a route or model.")
        elif not _exists(settings, target) and not _could_be_catalogued(settings, target):
            hint = did_you_mean(target, _callable(settings)) or "Name a route, deployment or model."
            yield Mistake(path, f"{dotted(path)}: there is no route or model '{target}'.", hint)


def _cycle(aliases: Mapping[str, str], start: str) -> tuple[str, ...]:
    """The way from `start` back to `start`, or nothing when it leads elsewhere."""
    way = [start]
    while way[-1] in aliases:
        way.append(aliases[way[-1]])
        if way[-1] == start:
            return tuple(way)
        if way[-1] in way[:-1]:
            return ()  # runs into a circle that others form; they are told
    return ()


def _exists(settings: Settings, name: str) -> bool:
    return name in _callable(settings) or _is_at_provider(settings, name)


def _callable(settings: Settings) -> set[str]:
    """Every name the settings themselves define, catalogue models left out."""
    names = {*settings.routes, *settings.deployments, *settings.aliases}
    names.update(deployment.model for deployment in settings.deployments.values())
    for provider in settings.providers.values():
        names.update(provider.models or ())
    return names


def _is_at_provider(settings: Settings, name: str) -> bool:
    provider, slash, model = name.partition("/")
    return bool(slash and model) and provider in settings.providers


def _could_be_catalogued(settings: Settings, name: str) -> bool:
    """Whether some provider offers its whole catalogue and the name is not a slip of a defined one."""
    offers = any(provider.models is None for provider in settings.providers.values())
    is_slip = did_you_mean(name, settings.routes) is not None
    return (offers or settings.server.detect) and not is_slip


def _unlisted_fallbacks(settings: Settings) -> Iterator[str]:
    for name, route in settings.routes.items():
        for target in route.fallbacks:
            if not _exists(settings, target) and _could_be_catalogued(settings, target):
                yield (
                    f"Route '{name}' falls back to '{target}', which no table here defines; "
                    "it works only while a provider's catalogue offers it."
                )


def _budgets(settings: Settings) -> Iterator[Mistake]:
    seen: dict[tuple[str | None, ...], str] = {}
    for name, budget in settings.budgets.items():
        path: KeyPath = ("budgets", name)
        scope = _scope(budget)
        if scope in seen:
            message = f"{dotted(path)} limits exactly what budgets.{seen[scope]} limits."
            yield Mistake(path, message, "Keep the smaller one.")
        seen.setdefault(scope, name)
        for index, percent in enumerate(budget.alert_at):
            if not 0 < percent <= 1000:
                spot = (*path, "alert_at", index)
                yield Mistake(spot, f"{dotted(spot)} is not a percentage from 1 to 1000.")


def _scope(budget: Budget) -> tuple[str | None, ...]:
    return (budget.window, budget.key, budget.team, budget.model, budget.tag)


def _amounts(settings: Settings) -> Iterator[Mistake]:
    for name, budget in settings.budgets.items():
        yield from _amount(("budgets", name, "dollars"), budget.dollars, dollars)
    for name, deployment in settings.deployments.items():
        path: KeyPath = ("deployments", name)
        fee = deployment.provisioned_hourly_dollars
        yield from _amount((*path, "provisioned_hourly_dollars"), fee, dollars)
        if deployment.price is not None:
            yield from _price((*path, "price"), deployment.price)


def _price(path: KeyPath, price: PriceSetting) -> Iterator[Mistake]:
    for rate in _RATES:
        value = getattr(price, rate)
        if value is not None:
            yield from _amount((*path, rate), value, dollars_per_million)


def _amount(
    path: KeyPath, value: str | float | int, parse: Callable[[str | float | int], int]
) -> Iterator[Mistake]:
    try:
        parse(value)
    except ValueError as error:
        yield Mistake(path, f"{dotted(path)}: {error}.")


def _secret_references(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    for name, provider in settings.providers.items():
        if provider.key is not None:
            yield ("providers", name, "key"), provider.key
        for header, value in provider.headers.items():
            yield ("providers", name, "headers", header), value
    if settings.alerts.webhook_secret is not None:
        yield ("alerts", "webhook_secret"), settings.alerts.webhook_secret
    for header, value in settings.telemetry.otlp_headers.items():
        yield ("telemetry", "otlp_headers", header), value


def _secret_files(settings: Settings) -> Iterator[Mistake]:
    for path, reference in _secret_references(settings):
        if reference in (ENV, FILE):
            yield Mistake(path, f"{dotted(path)}: '{reference}' names nothing.")
        elif reference.startswith(FILE):
            file = Path(reference.removeprefix(FILE)).expanduser()
            if not file.is_file():
                message = f"{dotted(path)}: there is no file {file}."
                yield Mistake(path, message, "Create it or correct the path.")


def _unset_variables(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    for path, reference in _secret_references(settings):
        name = reference.removeprefix(ENV)
        if reference.startswith(ENV) and name and not environ.get(name, "").strip():
            yield f"{dotted(path)}: the environment variable {name} is not set; calls that need it will fail."
