"""The TOML overlay: prices and facts with source and date, for what the price data lacks."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

import msgspec

from farthing.core.errors import ConfigError
from farthing.core.models import Kind
from farthing.core.prices import LongContext, Rates, Tier
from farthing.providers.prices import picodollars_each, picodollars_per_token

#: Where a project keeps prices of its own; `farthing prices import` writes there.
USER_OVERLAY = Path(".farthing/prices.toml")


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RateRow(_Row, frozen=True, kw_only=True):
    """Prices as vendors print them: dollars per million tokens, as strings; searches per thousand."""

    input: str
    output: str = "0"
    cached_input: str | None = None
    cache_write: str | None = None
    cache_write_1h: str | None = None
    reasoning: str | None = None
    input_audio: str | None = None
    cached_input_audio: str | None = None
    output_audio: str | None = None
    input_image: str | None = None
    output_image: str | None = None
    web_search: str | None = None
    request: str | None = None

    def rates(self) -> Rates:
        """Exact picodollars. Raises ValueError for what is no price."""
        each = ("web_search", "request")
        converted: dict[str, int] = {}
        for name in self.__struct_fields__:
            text: str | None = getattr(self, name)
            if text is not None:
                convert = picodollars_each if name in each else picodollars_per_token
                converted[name] = convert(_decimal(text))
        return Rates(**converted)


class StepRow(RateRow, frozen=True, kw_only=True):
    """Prices of the whole call above a number of input tokens."""

    above_input_tokens: int

    def rates(self) -> Rates:
        """Exact picodollars of this step."""
        plain = {n: getattr(self, n) for n in RateRow.__struct_fields__}
        return RateRow(**plain).rates()


class TierRow(_Row, frozen=True, kw_only=True):
    """One service tier."""

    rates: RateRow
    above: tuple[StepRow, ...] = ()

    def tier(self) -> Tier:
        """The tier in exact numbers. Raises ValueError."""
        steps = sorted(self.above, key=lambda step: step.above_input_tokens)
        return Tier(
            rates=self.rates.rates(),
            long_context=tuple(
                LongContext(above_input_tokens=s.above_input_tokens, rates=s.rates()) for s in steps
            ),
        )


class ModelRow(_Row, frozen=True, kw_only=True):
    """Facts and prices of models at one vendor. What it leaves out stays as the price data says."""

    provider: str
    names: tuple[str, ...]
    source: str
    date: str
    unverified: bool = False
    kind: Kind | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: tuple[str, ...] = ()
    deprecated: str | None = None
    retires: str | None = None
    tiers: dict[str, TierRow] = {}


class InheritRow(_Row, frozen=True, kw_only=True):
    """`provider` sells `vendor`'s models (by name pattern) at the same price, times a percentage."""

    provider: str
    vendor: str
    source: str
    date: str
    models: tuple[str, ...] = ("*",)
    percent: dict[str, int] = {}
    tiers: tuple[str, ...] = ("standard",)
    unverified: bool = False

    def covers(self, name: str) -> bool:
        """Whether a model's name matches one of the patterns."""
        return any(fnmatchcase(name, pattern) for pattern in self.models)


class ProvisionedRow(_Row, frozen=True, kw_only=True):
    """The fee of one provisioned unit for one hour, in dollars, by scope."""

    provider: str
    scope: str
    hourly_dollars: str
    source: str
    date: str
    unverified: bool = False


class Overlay(_Row, frozen=True, kw_only=True):
    """A whole overlay file."""

    hidden: tuple[str, ...] = ()
    models: tuple[ModelRow, ...] = ()
    inherit: tuple[InheritRow, ...] = ()
    provisioned: tuple[ProvisionedRow, ...] = ()


def built_in() -> Overlay:
    """The overlay in this package."""
    return parse(
        files("farthing.providers").joinpath("overlay.toml").read_text(encoding="utf-8"), ""
    )


def user(path: Path = USER_OVERLAY) -> Overlay:
    """The project's own overlay; empty when there is no such file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Overlay()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "The prices cannot be read.", hint="It must be a text file.", path=str(path)
        ) from error
    return parse(text, str(path))


def parse(text: str, path: str) -> Overlay:
    """An overlay from its text. Raises ConfigError naming the row and field at fault."""
    try:
        overlay = msgspec.convert(tomllib.loads(text), type=Overlay)
        for row in overlay.models:
            for tier in row.tiers.values():
                tier.tier()
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, ValueError) as error:
        raise ConfigError(
            f"The prices are wrong: {error}.",
            hint="Prices are strings in dollars per million tokens, with at most six decimals.",
            path=path or None,
        ) from error
    return overlay


def _decimal(text: str) -> Decimal:
    cleaned = text.strip().removeprefix("$")
    if not cleaned.replace(".", "", 1).isdecimal():
        raise ValueError(f"'{text}' is not a price")
    return Decimal(cleaned)
