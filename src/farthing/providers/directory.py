"""What can be called here: providers, deployments, and the route behind every name that a caller may use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from farthing.base.clock import Clock
from farthing.base.config.amounts import dollars
from farthing.base.config.settings import Deployment as DeploymentSettings
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.base.config.settings import Route as RouteSettings
from farthing.base.config.settings import Settings
from farthing.base.registry import Registry
from farthing.core.errors import ConfigError, UnknownModelError, did_you_mean
from farthing.core.models import Deployment, Kind, Model, Route, Timeouts
from farthing.core.prices import Price
from farthing.core.protocols import DescribesDeployments, Provider
from farthing.providers.catalogue import Catalogue
from farthing.providers.detect import Detected, is_loopback_url
from farthing.providers.prices import FREE, negotiated
from farthing.providers.vendors import Vendor, vendors
from farthing.wire.dialects import dialects

#: Makes a provider from the name and settings of its table, the environment and the clock.
ProviderFactory = Callable[[str, ProviderSettings, Mapping[str, str], Clock], Provider]

#: The provider that is offered when nothing is configured and nothing was found.
DEFAULT_PROVIDER = "sim"


def provider_types() -> Registry[ProviderFactory]:
    """Every type of provider: the rows of `vendors.toml`, and what outside packages register."""
    rows = {name: row.factory for name, row in vendors().items()}
    return Registry("provider type", "farthing.providers", rows)


def build_directory(
    settings: Settings,
    *,
    catalogue: Catalogue,
    clock: Clock,
    environ: Mapping[str, str],
    detected: Sequence[Detected] = (),
) -> Directory:
    """The directory of these settings.

    detected: what `detect` found; a configured provider of the same name or address comes first. With
    neither, the simulator is offered. Raises ConfigError for an unknown provider type or a bad amount.
    """
    tables = dict(settings.providers)
    known = {(table.type, table.base_url) for table in tables.values()}
    for found in detected:
        if found.name not in tables and (found.type, found.base_url) not in known:
            tables[found.name] = ProviderSettings(
                type=found.type, base_url=found.base_url, models=found.models
            )
    if not tables:
        tables[DEFAULT_PROVIDER] = ProviderSettings(type="sim")
    providers = Providers(tables, provider_types(), environ, clock)
    return Directory(settings, providers, catalogue, tuple(detected))


class Providers(Mapping[str, Provider]):
    """Providers by configured name, each made when it is first asked for."""

    def __init__(
        self,
        tables: Mapping[str, ProviderSettings],
        types: Registry[ProviderFactory],
        environ: Mapping[str, str],
        clock: Clock,
    ) -> None:
        for name, table in tables.items():
            if table.type not in types:
                hint = did_you_mean(table.type, types) or f"Known: {', '.join(types)}."
                raise ConfigError(
                    f"providers.{name}.type: there is no provider type '{table.type}'.", hint=hint
                )
        self.tables = MappingProxyType(dict(tables))
        self._types = types
        self._environ = environ
        self._clock = clock
        self._made: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        if name not in self._made:
            table = self.tables[name]
            factory = self._types.get(table.type)
            self._made[name] = factory(name, table, self._environ, self._clock)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self.tables  # Mapping's own would make the provider to see whether it can

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def make(self, names: Iterable[str]) -> None:
        """Make these now, so that a mistake is told at the start and not to the first caller.

        Raises ConfigError for what a provider dislikes in its table.
        """
        for name in names:
            _ = self[name]

    async def aclose(self) -> None:
        """Close those that were made. Idempotent."""
        while self._made:
            _, provider = self._made.popitem()
            await provider.aclose()


class Directory:
    """Names to routes. Built once per generation of settings; grows only by names that callers use.

    `deployments` holds what the settings, the providers themselves and detection name. A model that is
    only known from the catalogue joins it as `provider/model` when it is first asked for.
    """

    def __init__(
        self,
        settings: Settings,
        providers: Providers,
        catalogue: Catalogue,
        detected: tuple[Detected, ...],
    ) -> None:
        self.providers = providers
        self.catalogue = catalogue
        self.detected = detected
        self._aliases = settings.aliases
        self._timeouts = settings.timeouts
        self._deployments: dict[str, Deployment] = {}
        for name, table in settings.deployments.items():
            self._deployments[name] = self._configured(name, table)
        for name, provider in providers.tables.items():
            self._add_described(name, provider)
            for model in provider.models or ():
                self._offer(name, model)
        self._named: dict[str, Route] = {
            name: self._grouped(name, route) for name, route in settings.routes.items()
        }
        self._routes: dict[str, Route] = dict(self._named)

    @property
    def deployments(self) -> Mapping[str, Deployment]:
        """Every deployment that is named or was asked for, by name."""
        return MappingProxyType(self._deployments)

    @property
    def routes(self) -> Mapping[str, Route]:
        """The routes of the settings, by name."""
        return MappingProxyType(self._named)

    def route(self, name: str) -> Route:
        """What serves a name: a route, an alias, a deployment, `provider/model`, or a model's own name.

        A model's name means every deployment of that model in the settings; when there is none, every
        provider whose catalogue has it. Raises UnknownModelError with the nearest names.
        """
        found = self._routes.get(name)
        if found is None:
            found = self._find(name)
            if all(d.name in self._deployments for group in found.groups for d in group):
                self._routes[name] = found
        return found

    def names(self) -> tuple[str, ...]:
        """Every name that can be asked for, sorted; catalogue models once, under their own name."""
        names = {*self._named, *self._aliases, *self._deployments}
        names.update(deployment.model for deployment in self._deployments.values())
        for provider in self.providers.tables:
            if self._offers_catalogue(provider):
                names.update(self.catalogue.names(self._vendor_id(provider)))
        return tuple(sorted(names))

    def catalogued(self) -> tuple[Deployment, ...]:
        """The deployments that the catalogue makes possible: each model of each provider with a list."""
        return tuple(
            self._make(f"{provider}/{model}", provider, model)
            for provider in self.providers.tables
            if self._offers_catalogue(provider)
            for model in self.catalogue.names(self._vendor_id(provider))
        )

    async def aclose(self) -> None:
        """Close the providers. Idempotent."""
        await self.providers.aclose()

    # --- finding ---

    def _find(self, name: str) -> Route:
        seen = [name]
        while seen[-1] in self._aliases and self._aliases[seen[-1]] not in seen:
            seen.append(self._aliases[seen[-1]])
        target = seen[-1]
        if target in self._named:
            return msgspec.structs.replace(self._named[target], name=name)
        if target in self._deployments:
            return Route(name=name, groups=((self._deployments[target],),))
        same_model = [d for d in self._deployments.values() if d.model == target]
        if same_model:
            return Route(name=name, groups=_ranked(same_model))
        provider, slash, model = target.partition("/")
        if slash and model and provider in self.providers and self._may_offer(provider, model):
            # A name that nobody vouches for is served but not remembered: callers could invent any number.
            is_known = self.catalogue.model(self._vendor_id(provider), model) is not None
            offer = (
                self._offer(provider, model) if is_known else self._make(target, provider, model)
            )
            return Route(name=name, groups=((offer,),))
        offering = [
            provider
            for provider in self.providers.tables
            if self._offers_catalogue(provider)
            and self.catalogue.model(self._vendor_id(provider), target) is not None
        ]
        if offering:
            offers = tuple(self._offer(provider, target) for provider in offering)
            return Route(name=name, groups=(offers,))
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownModelError:
        near = did_you_mean(name, self.names())
        listing = "`farthing models` lists what can be called here."
        shown = "".join(c if c.isprintable() else "?" for c in name[:100])
        return UnknownModelError(
            f"There is no model, route or deployment '{shown}' here.",
            hint=f"{near} {listing}" if near else listing,
            param="model",
        )

    def _may_offer(self, provider: str, model: str) -> bool:
        """Unlisted models may be asked of a provider whose settings do not list its models."""
        table = self.providers.tables[provider]
        if table.models is not None:
            return model in table.models
        row = vendors().get(table.type)
        return row is None or not row.describes

    def _offers_catalogue(self, provider: str) -> bool:
        table = self.providers.tables[provider]
        row = vendors().get(table.type)
        is_listed = table.models is not None
        return not is_listed and (row is None or not (row.named_by_operator or row.describes))

    # --- making ---

    def _grouped(self, name: str, table: RouteSettings) -> Route:
        members = [
            self._deployments.get(member) or self._offer(*member.split("/", 1))
            for member in table.deployments
        ]
        return Route(
            name=name,
            groups=_ranked(members),
            fallbacks=table.fallbacks,
            strategy=table.strategy,
            is_cached=table.cache,
        )

    def _add_described(self, name: str, table: ProviderSettings) -> None:
        row = vendors().get(table.type)
        if row is not None and not row.describes:
            return  # known to have nothing to say: its module need not be imported yet
        provider = self.providers[name]
        if isinstance(provider, DescribesDeployments):
            for deployment in provider.deployments():
                price = deployment.price or self._price(name, deployment.model)
                told = msgspec.structs.replace(deployment, price=price)
                self._deployments.setdefault(deployment.name, told)

    def _offer(self, provider: str, model: str) -> Deployment:
        name = f"{provider}/{model}"
        if name not in self._deployments:
            self._deployments[name] = self._make(name, provider, model)
        return self._deployments[name]

    def _make(self, name: str, provider: str, model: str) -> Deployment:
        facts = self._facts(provider, model)
        return Deployment(
            name=name,
            provider=provider,
            model=model,
            remote_name=model,
            kind=facts.kind,
            region=self.providers.tables[provider].region,
            price=self._price(provider, model),
            context_tokens=facts.context_tokens,
            max_output_tokens=facts.max_output_tokens,
            capabilities=facts.capabilities,
            is_simulated=self._is_simulated(provider),
        )

    def _configured(self, name: str, table: DeploymentSettings) -> Deployment:
        provider = self.providers.tables[table.provider]
        facts = self._facts(table.provider, table.model)
        region = table.region or provider.region
        price = self._price(table.provider, table.model, scope=table.scope)
        if table.price is not None:
            price = negotiated(table.price)
        _check_dialects(name, table.dialects)
        timeouts = None
        if table.first_byte_s is not None:
            common = self._timeouts
            timeouts = Timeouts(
                connect_s=common.connect_s,
                first_byte_s=table.first_byte_s,
                between_bytes_s=common.between_bytes_s,
                total_s=common.total_s,
            )
        return Deployment(
            name=name,
            provider=table.provider,
            model=table.model,
            remote_name=table.remote_name or table.model,
            kind=table.kind or facts.kind,
            region=region,
            price=price,
            context_tokens=table.context_tokens or facts.context_tokens,
            max_output_tokens=table.max_output_tokens or facts.max_output_tokens,
            capabilities=facts.capabilities,
            is_provisioned=table.is_provisioned,
            provisioned_hourly_nanodollars=dollars(table.provisioned_hourly_dollars),
            is_simulated=self._is_simulated(table.provider),
            tokens_per_minute=table.tokens_per_minute,
            requests_per_minute=table.requests_per_minute,
            weight=table.weight,
            priority=table.priority,
            timeouts=timeouts,
            dialects=table.dialects,
        )

    # --- facts ---

    def _vendor_id(self, provider: str) -> str:
        table = self.providers.tables[provider]
        row = vendors().get(table.type)
        return (row.catalogue if row else None) or table.type

    def _is_simulated(self, provider: str) -> bool:
        row = vendors().get(self.providers.tables[provider].type)
        return row is not None and row.simulated

    def _facts(self, provider: str, model: str) -> Model:
        vendor = self._vendor_id(provider)
        known = self.catalogue.model(vendor, model) or self.catalogue.find(model)
        return known or Model(name=model, provider=vendor, kind=_guessed_kind(model))

    def _price(self, provider: str, model: str, *, scope: str | None = None) -> Price | None:
        table = self.providers.tables[provider]
        row = vendors().get(table.type)
        if row is not None and row.local and _is_own(row, table):
            return FREE
        known = self.catalogue.model(self._vendor_id(provider), model, scope=scope)
        if known is None and row is not None and row.describes:
            known = self.catalogue.find(model)
        return known.price if known else None


def _is_own(row: Vendor, table: ProviderSettings) -> bool:
    """Whether a local server's tokens are free: it has a well-known program, or is on this machine."""
    return row.probe or is_loopback_url(table.base_url or row.base_url)


def _check_dialects(deployment: str, stated: Sequence[str]) -> None:
    if not stated:
        return
    known = dialects()
    for dialect in stated:
        if dialect not in known:
            raise ConfigError(
                f"deployments.{deployment}.dialects: there is no dialect '{dialect}'.",
                hint=did_you_mean(dialect, known) or f"Known: {', '.join(known)}.",
            )


def _ranked(deployments: Sequence[Deployment]) -> tuple[tuple[Deployment, ...], ...]:
    ranks = sorted({deployment.priority for deployment in deployments})
    return tuple(tuple(d for d in deployments if d.priority == rank) for rank in ranks)


def _guessed_kind(model: str) -> Kind:
    return "embed" if "embed" in model.lower() else "chat"
