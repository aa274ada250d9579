"""Models and where they can be bought: Model facts, Deployment, Plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from farthing.core.prices import Price

#: What a call asks for. One kind, one pair of request and answer types.
Kind = Literal["chat", "embed"]

Capability = Literal[
    "tools", "images", "audio", "files", "json_schema", "reasoning", "stream", "embeddings"
]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalogue knows of a model. None means unknown, never unlimited.

    context_tokens: input plus output. retires: ISO date after which the vendor turns it off.
    """

    name: str
    provider: str
    kind: Kind = "chat"
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()
    price: Price | None = None
    deprecated: str | None = None
    retires: str | None = None
    source: str = ""
    date: str = ""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a model can be bought, ready to be called.

    name: unique in this installation. provider: the configured provider (connection) it belongs to.
    model: the model's name in the catalogue. remote_name: what the provider calls it (Azure: the
    deployment's name). price None: unknown. is_simulated: its answers and costs are not real.
    tokens_per_minute, requests_per_minute: its quota when the operator states it.
    provisioned_hourly_nanodollars: fixed fee per hour of a provisioned deployment (its tokens are free).
    dialects: what it speaks, the preferred one first, when that is less than all that its provider speaks.
    """

    name: str
    provider: str
    model: str
    remote_name: str
    kind: Kind = "chat"
    region: str | None = None
    price: Price | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()
    is_provisioned: bool = False
    provisioned_hourly_nanodollars: int = 0
    is_simulated: bool = False
    tokens_per_minute: int | None = None
    requests_per_minute: int | None = None
    weight: int = 1
    priority: int = 0
    timeouts: Timeouts | None = None
    dialects: tuple[str, ...] = ()


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. between_bytes_s: the longest silence inside a stream. total_s: the whole try."""

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    between_bytes_s: float = 60.0
    total_s: float = 600.0


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment as the policy sees it now.

    is_open: its circuit breaker lets calls through. in_flight: calls running there.
    """

    deployment: Deployment
    is_open: bool = True
    in_flight: int = 0
    retry_after_s: float = 0.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Deployments to try, in order. reason: why this order, for the call record and for people."""

    steps: tuple[Deployment, ...]
    reason: str = ""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers may ask for, and what serves it.

    groups: deployments of equal rank, best rank first; within a rank they are balanced by weight.
    fallbacks: other route names to go on with when every deployment here has failed.
    """

    name: str
    groups: tuple[tuple[Deployment, ...], ...]
    fallbacks: tuple[str, ...] = ()
    strategy: Literal["weighted", "ordered", "least_busy"] = "weighted"
    is_cached: bool = False


#: Every name a caller may use → its route.
Routes = Mapping[str, Route]
