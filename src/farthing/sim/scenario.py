"""Scenarios: a TOML file that states models, prices, regions, quotas, latencies and faults."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from farthing.core.errors import ConfigError, did_you_mean
from farthing.core.prices import LongContext, Price, Rates, Tier

Flavour = Literal["openai", "azure", "anthropic", "google"]
Where = Literal["first", "middle", "last"]
Dollars = str | int | float


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are errors."""


class PriceTable(_Table, frozen=True, kw_only=True):
    """Dollars per million tokens (web_search, request: dollars each)."""

    input: Dollars
    output: Dollars = 0
    cached_input: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    reasoning: Dollars | None = None
    input_image: Dollars | None = None
    request: Dollars = 0


class LongTable(_Table, frozen=True, kw_only=True):
    """The prices of the whole call once its input is larger."""

    above_input_tokens: int
    price: PriceTable


class ModelTable(_Table, frozen=True, kw_only=True):
    """A simulated model. assumed_output_tokens: what admission assumes without `max_tokens`."""

    price: PriceTable
    source: str
    date: str
    kind: Literal["chat", "embed"] = "chat"
    context_tokens: int = 128_000
    max_output_tokens: int = 16_384
    is_reasoning: bool = False
    is_retired: bool = False
    assumed_output_tokens: int = 1024
    dimensions: int = 256
    tiers: dict[str, PriceTable] = {}
    long_context: LongTable | None = None


class QuotaTable(_Table, frozen=True, kw_only=True):
    """tokens_per_minute and requests_per_minute in the vendor's semantics. requests 0: 6 per 1k TPM."""

    semantics: Literal["window", "bucket"] = "bucket"
    tokens_per_minute: int = 240_000
    requests_per_minute: int = 0
    slice_s: Literal[1, 10] = 10
    reduced_to: float = 1.0


class ProvisionedTable(_Table, frozen=True, kw_only=True):
    """Provisioned throughput. Defaults are gpt-4o's (2,500 input tokens per minute and unit, 3 : 1)."""

    units: int = 15
    input_tokens_per_minute: int = 2500
    output_weight: float = 3.0
    hourly_dollars: Dollars = 0
    window_s: float = 60.0


class DeploymentTable(_Table, frozen=True, kw_only=True):
    """One model in one region; exactly one of quota and provisioned judges its calls."""

    model: str
    quota: QuotaTable | None = None
    provisioned: ProvisionedTable | None = None
    spillover: str | None = None
    is_allocated: bool = True


class LatencyTable(_Table, frozen=True, kw_only=True):
    """Seconds. First token: lognormal with this median and 99th percentile."""

    first_token_p50_s: float = 0.4
    first_token_p99_s: float = 1.6
    per_token_s: float = 0.012


class FaultTable(_Table, frozen=True, kw_only=True):
    """When a fault strikes: inside the span (seconds since start), at these request ordinals (from 1),
    with this probability; all that are given must hold."""

    name: str
    at: Where = "middle"
    from_s: float = 0.0
    until_s: float | None = None
    requests: tuple[int, ...] = ()
    probability: float = 1.0


class RegionTable(_Table, frozen=True, kw_only=True):
    """One region. key: callers must present it, if set. port 0: any free one."""

    deployments: dict[str, DeploymentTable]
    flavour: Flavour = "openai"
    latency: LatencyTable = LatencyTable()
    faults: tuple[FaultTable, ...] = ()
    key: str | None = None
    port: int = 0
    tokens_per_event: int = 1


class Scenario(_Table, frozen=True, kw_only=True):
    """The whole file."""

    name: str
    models: dict[str, ModelTable]
    regions: dict[str, RegionTable]
    seed: int = 0
    control_port: int = 0
    is_header_fault_allowed: bool = False


def load(path: str | Path | None = None) -> Scenario:
    """The scenario at `path`, a built-in one by name (`default`, `demo`), or the default one.

    Raises ConfigError with the key at fault and the nearest known name.
    """
    if path is None or str(path) in builtin():
        name = str(path or "default")
        text = resources.files("farthing.sim").joinpath(f"scenarios/{name}.toml").read_text("utf-8")
        return parse(text, origin=f"{name}.toml")
    try:
        return parse(Path(path).read_text("utf-8"), origin=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The scenario {path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}.",
            hint=f"Give a TOML file or one of the built-in scenarios: {', '.join(builtin())}.",
        ) from error


def builtin() -> tuple[str, ...]:
    """The names of the built-in scenarios."""
    files = resources.files("farthing.sim").joinpath("scenarios").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def parse(text: str, *, origin: str = "scenario") -> Scenario:
    """A scenario from TOML text. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"This is no TOML: {error}.", path=origin, hint="Fix the syntax."
        ) from error
    try:
        scenario = msgspec.convert(document, Scenario)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{_plain(str(error))}.", path=origin, hint=_near(str(error), document)
        ) from error
    _check(scenario, origin)
    return scenario


def price_of(model: ModelTable) -> Price:
    """The stated price in the shared words. Raises ConfigError for a figure that is no amount."""
    steps: tuple[LongContext, ...] = ()
    if model.long_context is not None:
        step = model.long_context
        steps = (
            LongContext(above_input_tokens=step.above_input_tokens, rates=rates_of(step.price)),
        )
    tiers = {"standard": Tier(rates=rates_of(model.price), long_context=steps)}
    tiers |= {name: Tier(rates=rates_of(table)) for name, table in model.tiers.items()}
    return Price(tiers=tiers, source=model.source, date=model.date)


def rates_of(table: PriceTable) -> Rates:
    """Picodollars per unit."""

    def each(value: Dollars) -> int:
        return _exact(value, 1_000_000)

    def maybe(value: Dollars | None) -> int | None:
        return None if value is None else each(value)

    return Rates(
        input=each(table.input),
        output=each(table.output),
        cached_input=maybe(table.cached_input),
        cache_write=maybe(table.cache_write),
        cache_write_1h=maybe(table.cache_write_1h),
        reasoning=maybe(table.reasoning),
        input_image=maybe(table.input_image),
        request=_exact(table.request, 10**12),
    )


def nanodollars(value: Dollars) -> int:
    """An amount of dollars, such as an hourly fee. Raises ConfigError."""
    return _exact(value, 10**9)


def _exact(value: Dollars, scale: int) -> int:
    try:
        pico = Decimal(str(value)) * scale
    except InvalidOperation:
        pico = Decimal("NaN")
    if not pico.is_finite() or pico < 0 or pico != pico.to_integral_value():
        raise ConfigError(
            f"{value!r} is not an exact price in dollars.", hint="Write it like 0.15 or '2.50'."
        )
    return int(pico)


def _check(scenario: Scenario, origin: str) -> None:
    from farthing.sim.faults import MENU

    for model in scenario.models.values():
        price_of(model)
    for region_name, region in scenario.regions.items():
        where = f"regions.{region_name}"
        for name, deployment in region.deployments.items():
            path = f"{where}.deployments.{name}"
            _known(deployment.model, scenario.models, "model", path, origin)
            if (deployment.quota is None) == (deployment.provisioned is None):
                raise ConfigError(
                    f"{path} needs either `quota` or `provisioned`.",
                    path=origin,
                    hint="Write quota = { tokens_per_minute = 240000 }, or provisioned = { units = 15 }.",
                )
            if deployment.spillover is not None:
                _known(deployment.spillover, region.deployments, "deployment", path, origin)
                if region.deployments[deployment.spillover].model != deployment.model:
                    raise ConfigError(
                        f"{path} spills over to another model.",
                        path=origin,
                        hint="Spill-over stays on the same model; name a deployment of it.",
                    )
        for fault in region.faults:
            _known(fault.name, MENU, "fault", f"{where}.faults", origin)


def _known(name: str, known: Any, what: str, where: str, origin: str) -> None:
    if name not in known:
        hint = did_you_mean(name, known) or f"Known: {', '.join(sorted(known))}."
        raise ConfigError(
            f"{where} names the {what} '{name}', which does not exist.", path=origin, hint=hint
        )


def _plain(message: str) -> str:
    return message.replace("Object", "The scenario").replace("`$.", "`").rstrip(".")


def _near(message: str, document: object) -> str | None:
    match = re.search(r"unknown field `([^`]+)`", message)
    if not match:
        return None
    fields = {field for table in _Table.__subclasses__() for field in table.__struct_fields__}
    return did_you_mean(match[1], fields)
