"""Where a flow's own code finds its model: the two records that flex flows and prompties take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from farthing.core.errors import FlowError
from farthing.flows.connections.types import AzureOpenAIConnection, OpenAIConnection


class ModelConfiguration:
    """The base of both."""


def _check(connection: str | None, others: tuple[Any, ...]) -> None:
    if connection and any(others):
        raise FlowError(
            f"A model configuration names the connection '{connection}' and an endpoint or key as well.",
            hint="Keep one of the two.",
        )


@dataclass
class AzureOpenAIModelConfiguration(ModelConfiguration):
    """A deployment of Azure OpenAI: through a connection's name, or by its endpoint. Hides its key."""

    azure_deployment: str
    azure_endpoint: str | None = None
    api_version: str | None = None
    api_key: str | None = field(default=None, repr=False)
    connection: str | None = None

    def __post_init__(self) -> None:
        _check(self.connection, (self.azure_endpoint, self.api_key, self.api_version))

    @classmethod
    def from_connection(
        cls, connection: AzureOpenAIConnection, azure_deployment: str
    ) -> AzureOpenAIModelConfiguration:
        """The deployment where the connection leads."""
        return cls(
            azure_deployment,
            azure_endpoint=connection.api_base,
            api_version=connection.api_version,
            api_key=connection.api_key,
        )


@dataclass
class OpenAIModelConfiguration(ModelConfiguration):
    """A model of OpenAI, or of a server that speaks as it does. Hides its key."""

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    connection: str | None = None

    def __post_init__(self) -> None:
        _check(self.connection, (self.base_url, self.api_key, self.organization))

    @classmethod
    def from_connection(cls, connection: OpenAIConnection, model: str) -> OpenAIModelConfiguration:
        """The model where the connection leads."""
        return cls(
            model,
            base_url=connection.base_url,
            api_key=connection.api_key,
            organization=connection.organization,
        )
