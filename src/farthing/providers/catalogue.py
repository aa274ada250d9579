"""The catalogue: what is known of each model (price, context, capabilities), found by any of its names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import msgspec

from farthing.base.clock import Clock, SystemClock
from farthing.base.config.amounts import dollars
from farthing.core.models import Kind, Model
from farthing.core.prices import LongContext, Price, Rates, Tier
from farthing.providers import overlay as overlays
from farthing.providers import pricedata, tariff
from farthing.providers.overlay import InheritRow, ModelRow, Overlay, ProvisionedRow
from farthing.providers.pricedata import Record

#: Where a bare name is looked for, in this order; the makers come before those who resell.
MAKERS = (
    "openai",
    "anthropic",
    "google",
    "mistral",
    "deepseek",
    "x-ai",
    "cohere",
    "perplexity",
    "groq",
)

#: `us.anthropic.claude-…-v1:0`: region and vendor prefixes and version suffix of Bedrock's ids.
_BEDROCK = re.compile(
    r"^(?:(?:us|eu|apac|global|us-gov|jp|au)\.)?[a-z0-9]+\.(?=[a-z])|-v\d+(?::\d+)?$"
)
#: A snapshot's date at the end of a name: `-2024-08-06`, `-20250929`, `@20250929`, `-0613`, `-latest`.
_SNAPSHOT = re.compile(r"(?:[-@](?:20\d\d-\d\d-\d\d|20\d{6}|\d{4})|-latest)$")


class Catalogue:
    """Facts by vendor and model name. Loading takes about 0.05 s; a repeated lookup is one dict access.

    Prices are those of the day of loading. An overlay row wins over the price data, a later overlay over
    an earlier one.
    """

    def __init__(
        self, data: Mapping[str, Sequence[Record]], layers: Sequence[Overlay], *, today: date
    ) -> None:
        self._data = data
        self._layers = tuple(layers)
        self._today = today
        self._entries = {
            vendor: {record.get("id"): record for record in records}
            for vendor, records in data.items()
        }
        self._indexes: dict[str, _Index] = {}
        self._rows: dict[tuple[str, str], list[ModelRow]] = {}
        for row in (row for layer in layers for row in layer.models):
            for name in row.names:
                self._rows.setdefault((row.provider, name), []).append(row)
        self._inherit = tuple(row for layer in layers for row in layer.inherit)
        self._models: dict[tuple[str, str, str | None], Model | None] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._found: dict[str, Model | None] = {}

    @classmethod
    def load(
        cls, *, clock: Clock | None = None, user_overlay: Path = overlays.USER_OVERLAY
    ) -> Catalogue:
        """The installed price data, the built-in overlay and the project's own. Raises ConfigError."""
        today = datetime.fromtimestamp((clock or SystemClock()).now(), tz=UTC).date()
        layers = (overlays.built_in(), overlays.user(user_overlay))
        return cls(pricedata.load(), layers, today=today)

    def model(self, vendor: str, name: str, *, scope: str | None = None) -> Model | None:
        """A model at a vendor, under any spelling of its name; None when it is not known there.

        scope: `global`, `data_zone` or `regional`, where the vendor's price depends on it.
        """
        key = (vendor, name, scope)
        try:
            return self._models[key]
        except KeyError:
            model = self._look_up(vendor, name, scope)
            if model is not None:  # unknown names are not kept: callers could invent any number
                self._models[key] = model
            return model

    def find(self, name: str) -> Model | None:
        """A model by name alone, at its maker if possible. `vendor/model` is understood."""
        if name in self._found:
            return self._found[name]
        vendor, slash, rest = name.partition("/")
        model = self.model(vendor, rest) if slash else None
        for candidate in (*MAKERS, *(v for v in self._entries if v not in MAKERS)):
            if model is not None:
                break
            model = self.model(candidate, name)
        if model is not None:
            self._found[name] = model
        return model

    def names(self, vendor: str) -> tuple[str, ...]:
        """The models of a vendor that can be called and are priced, sorted: none that has retired."""
        if vendor not in self._names:
            self._names[vendor] = tuple(sorted(self._priced(vendor)))
        return self._names[vendor]

    def vendors(self) -> tuple[str, ...]:
        """Every vendor that has models, sorted."""
        known = {*self._entries, *(vendor for vendor, _ in self._rows)}
        known.update(row.provider for row in self._inherit)
        return tuple(sorted(vendor for vendor in known if self.names(vendor)))

    def models(self, vendor: str | None = None) -> Iterator[Model]:
        """Every priced model, of one vendor or of all, by vendor and name."""
        for each in self.vendors() if vendor is None else (vendor,):
            for name in self.names(each):
                model = self.model(each, name)
                if model is not None:
                    yield model

    def provisioned(self, vendor: str | None = None) -> tuple[ProvisionedRow, ...]:
        """The hourly fees of provisioned units."""
        rows = (row for layer in self._layers for row in layer.provisioned)
        return tuple(row for row in rows if vendor in (None, row.provider))

    @cached_property
    def _data_date(self) -> str:
        """The newest day that the price data names: rows without a day of their own are that old or newer."""
        records = (record for records in self._data.values() for record in records)
        return max((tariff.stated_date(r, self._today) for r in records), default="")

    def _priced(self, vendor: str) -> set[str]:
        stated = {*self._entries.get(vendor, ())}
        stated.update(name for v, name in self._rows if v == vendor)
        names = {name for name in stated if self._is_listed(vendor, name)}
        for row in self._inherit:
            if row.provider == vendor and row.vendor != vendor:
                names.update(name for name in self.names(row.vendor) if row.covers(name))
        return names

    def _is_listed(self, vendor: str, name: str) -> bool:
        model = self.model(vendor, name)
        if model is None or model.price is None:
            return False
        if model.retires is not None and model.retires <= self._today.isoformat():
            return False
        return not any(fnmatchcase(name, p) for layer in self._layers for p in layer.hidden)

    def _look_up(self, vendor: str, name: str, scope: str | None) -> Model | None:
        inherit = next(
            (r for r in self._inherit if r.provider == vendor and r.covers(_plain(name))), None
        )
        for spelling in spellings(name):
            record = self._record(vendor, spelling)
            stated = spelling if record is None else record.get("id")
            rows = self._rows.get((vendor, spelling)) or self._rows.get((vendor, stated), [])
            if record is None and not rows:
                continue
            model = self._made(vendor, spelling, record, rows)
            if model.price is not None or inherit is None:
                return _scoped(model, inherit, scope)
        if inherit is None:
            return None
        parent = self.model(inherit.vendor, name)
        return _scoped(_inherited(parent, inherit), inherit, scope) if parent else None

    def _record(self, vendor: str, name: str) -> Record | None:
        index = self._indexes.get(vendor)
        if index is None:
            index = self._indexes[vendor] = _Index(self._data.get(vendor, ()))
        return index.find(name)

    def _made(
        self, vendor: str, spelling: str, record: Record | None, rows: Sequence[ModelRow]
    ) -> Model:
        name = spelling if record is None else record.get("id")
        kind: Kind = "embed" if "embed" in name else "chat"
        kind = next((row.kind for row in reversed(rows) if row.kind), kind)
        model = Model(name=name, provider=vendor, kind=kind)
        if record is not None:
            source = f"{pricedata.PACKAGE} {pricedata.installed_version()}"
            price = tariff.price_of(
                record, today=self._today, is_embedding=kind == "embed", source=source
            )
            if price is not None and not price.date:
                price = msgspec.structs.replace(price, date=self._data_date)
            model = msgspec.structs.replace(
                model,
                context_tokens=record.get("context_window"),
                deprecated="" if record.get("deprecated") else None,
                price=price,
                source=source,
                date=price.date if price else "",
            )
        for row in rows:
            model = _overlaid(model, row)
        return model


class _Index:
    """One vendor's records: by exact name at once, by pattern only for names that no record spells out."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._exact: dict[str, Record] = {}
        self._patterns: list[Record] = []
        for record in records:
            clause = record.get("match")
            parts = clause.get("or_") if clause.type == "ClauseOr" else [clause]
            for part in parts:
                if part.type == "ClauseEquals":
                    self._exact.setdefault(part.get("equals"), record)
            if any(part.type != "ClauseEquals" for part in parts):
                self._patterns.append(record)
        self._exact |= {record.get("id"): record for record in records}

    def find(self, name: str) -> Record | None:
        """The record of that name, else the first whose pattern matches it."""
        exact = self._exact.get(name)
        if exact is not None:
            return exact
        return next((r for r in self._patterns if _matches(r.get("match"), name)), None)


def spellings(name: str) -> tuple[str, ...]:
    """The ways in which the catalogue may know a model's name, the given one first.

    `models/` prefixes, upper case, Bedrock's decorations and finally a snapshot's date are taken off.
    """
    plain = _plain(name)
    bare = _BEDROCK.sub("", plain)
    found = [name, plain, bare, _SNAPSHOT.sub("", plain), _SNAPSHOT.sub("", bare)]
    return tuple(dict.fromkeys(found))


def _plain(name: str) -> str:
    return name.removeprefix("models/").lower()


def _matches(clause: Record, name: str) -> bool:
    match clause.type:
        case "ClauseEquals":
            return bool(name == clause.get("equals"))
        case "ClauseStartsWith":
            return name.startswith(clause.get("starts_with"))
        case "ClauseEndsWith":
            return name.endswith(clause.get("ends_with"))
        case "ClauseContains":
            return clause.get("contains") in name
        case "ClauseRegex":
            return re.search(clause.get("regex"), name) is not None
        case "ClauseOr":
            return any(_matches(each, name) for each in clause.get("or_"))
        case "ClauseAnd":
            return all(_matches(each, name) for each in clause.get("and_"))
    return False


def _overlaid(model: Model, row: ModelRow) -> Model:
    price = model.price
    if row.tiers:
        own = {name: tier.tier() for name, tier in row.tiers.items()}
        price = Price(
            tiers={**(price.tiers if price else {}), **own},
            source=row.source + (" (unverified)" if row.unverified else ""),
            date=row.date,
        )
    return msgspec.structs.replace(
        model,
        context_tokens=row.context_tokens or model.context_tokens,
        max_output_tokens=row.max_output_tokens or model.max_output_tokens,
        capabilities=frozenset(row.capabilities) or model.capabilities,
        deprecated=row.deprecated or model.deprecated,
        retires=row.retires or model.retires,
        price=price,
        source=row.source + (" (unverified)" if row.unverified else ""),
        date=row.date,
    )


def _inherited(parent: Model, row: InheritRow) -> Model:
    price = parent.price
    note = row.source + (" (unverified)" if row.unverified else "")
    if price is not None:
        kept = {name: tier for name, tier in price.tiers.items() if name in row.tiers}
        price = Price(tiers=kept, source=f"{note}; as {row.vendor}: {price.source}", date=row.date)
    return msgspec.structs.replace(
        parent,
        provider=row.provider,
        price=price,
        retires=None,
        deprecated=None,
        source=note,
        date=row.date,
    )


def _scoped(model: Model, row: InheritRow | None, scope: str | None) -> Model:
    percent = row.percent.get(scope or "global", 100) if row else 100
    if percent == 100 or model.price is None:
        return model
    tiers = {name: _scaled_tier(tier, percent) for name, tier in model.price.tiers.items()}
    price = msgspec.structs.replace(
        model.price, tiers=tiers, source=f"{model.price.source}; {scope} at {percent} %"
    )
    return msgspec.structs.replace(model, price=price)


def _scaled_tier(tier: Tier, percent: int) -> Tier:
    steps = tuple(
        LongContext(above_input_tokens=s.above_input_tokens, rates=_scaled(s.rates, percent))
        for s in tier.long_context
    )
    return Tier(rates=_scaled(tier.rates, percent), long_context=steps)


def _scaled(rates: Rates, percent: int) -> Rates:
    """Every rate of a token times `percent`, rounded half up to a picodollar; searches stay as they are."""
    names = (name for name in rates.__struct_fields__ if name not in ("web_search", "request"))
    values = ((name, getattr(rates, name)) for name in names)
    scaled = {name: (value * percent + 50) // 100 for name, value in values if value is not None}
    return msgspec.structs.replace(rates, **scaled)


def hourly_nanodollars(row: ProvisionedRow) -> int:
    """A unit's fee per hour."""
    return dollars(row.hourly_dollars)
