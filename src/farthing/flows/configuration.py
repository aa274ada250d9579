"""Model configurations: where a prompty finds its model, as an object that user code makes and passes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from farthing.core.errors import FlowInputError


@dataclass
class AzureOpenAIModelConfiguration:
    """A deployment on Azure, by the name of a connection or by its settings. The key is in no repr."""

    azure_deployment: str
    azure_endpoint: str | None = None
    api_version: str | None = None
    api_key: str | None = field(default=None, repr=False)
    connection: str | None = None

    def __post_init__(self) -> None:
        _check(self.connection, self.azure_endpoint, self.api_version, self.api_key)

    @classmethod
    def from_connection(
        cls, connection: Any, azure_deployment: str
    ) -> AzureOpenAIModelConfiguration:
        """The configuration of a deployment that a connection leads to."""
        return cls(
            azure_deployment=azure_deployment,
            azure_endpoint=connection.api_base,
            api_version=connection.api_version,
            api_key=connection.api_key,
        )


@dataclass
class OpenAIModelConfiguration:
    """A model of OpenAI, by the name of a connection or by its settings. The key is in no repr."""

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    connection: str | None = None

    def __post_init__(self) -> None:
        _check(self.connection, self.base_url, self.organization, self.api_key)

    @classmethod
    def from_connection(cls, connection: Any, model: str) -> OpenAIModelConfiguration:
        """The configuration of a model that a connection leads to."""
        return cls(
            model=model,
            base_url=connection.base_url,
            api_key=connection.api_key,
            organization=connection.organization,
        )


def _check(connection: str | None, *settings: str | None) -> None:
    if connection and any(settings):
        raise FlowInputError(
            f"A model configuration has both the connection '{connection}' and settings of its own.",
            hint="Keep the connection, or the endpoint, version and key.",
            param="connection",
        )
