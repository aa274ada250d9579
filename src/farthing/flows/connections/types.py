"""The types of connections: what user code receives, with prompt flow's fields and defaults (1.18.5).

A connection is two mappings, `configs` and `secrets`; its fields are attributes that read and write them.
No text of a connection (repr, str, an error) shows a secret.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from farthing.core.errors import FlowError
from farthing.flows.code.marks import Secret
from farthing.flows.connections.entra import WithTokens

C = TypeVar("C", bound="Connection")

#: Where a custom connection keeps which class it stands for.
CUSTOM_TYPE = "promptflow.connection.custom_type"
CUSTOM_MODULE = "promptflow.connection.module"
#: Values of `auth_mode` with which there is no key.
MANAGED = ("meid_token", "managed_identity")


class Secrets(dict[str, str]):
    """Secrets by name. Its text shows the names only."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: '******'" for name in self) + "}"

    __str__ = __repr__


class _Field:
    """An attribute of a connection that is kept in `configs` or `secrets`."""

    def __init__(self, name: str, *, is_secret: bool = False, default: Any = None) -> None:
        self._name = name
        self._is_secret = is_secret
        self._default = default

    def __get__(self, owner: Connection | None, kind: type[Connection]) -> Any:
        if owner is None:
            return self._default
        kept: Mapping[str, Any] = owner.secrets if self._is_secret else owner.configs
        return kept.get(self._name, self._default)

    def __set__(self, owner: Connection, value: Any) -> None:
        kept: dict[str, Any] = owner.secrets if self._is_secret else owner.configs
        kept[self._name] = value


class Connection:
    """Configs and secrets under one name. TYPE: as class names have it, without `Connection`."""

    TYPE: ClassVar[str] = ""
    #: Its name in YAML.
    YAML: ClassVar[str] = ""

    def __init__(
        self,
        name: str | None = None,
        module: str = "promptflow.connections",
        configs: Mapping[str, Any] | None = None,
        secrets: Mapping[str, Any] | None = None,
        **_told: Any,
    ) -> None:
        self.name = name
        self.module = module
        self.configs: dict[str, Any] = dict(configs or {})
        self.secrets: dict[str, Any] = Secrets(secrets or {})

    @property
    def type(self) -> str:
        """As in `AzureOpenAI`."""
        return self.TYPE

    @property
    def class_name(self) -> str:
        """As in `AzureOpenAIConnection`."""
        return f"{self.TYPE}Connection"

    def keys(self) -> list[str]:
        """The names of all its fields; with `[…]` this makes `**connection` work."""
        return [*self.configs, *self.secrets]

    def __getitem__(self, key: str) -> Any:
        if key in self.secrets:
            return self.secrets[key]
        if key in self.configs:
            return self.configs[key]
        raise KeyError(f"The connection '{self.name}' has no key {key!r}.")

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def is_secret(self, key: str) -> bool:
        """Whether the key is one of the secrets."""
        return key in self.secrets

    def _to_dict(self) -> dict[str, Any]:
        """Its fields without the secrets; private in prompt flow, and called by samples all the same."""
        told = {"name": self.name, "module": self.module, "type": self.YAML or "custom"}
        return {**told, **self.configs, **dict.fromkeys(self.secrets, "******")}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, keys={self.keys()!r})"


class _Keyed(Connection):
    api_key = _Field("api_key", is_secret=True)


class _Managed(WithTokens, _Keyed):
    """With an API key, or with tokens of Microsoft Entra ID (`auth_mode: meid_token`)."""

    auth_mode = _Field("auth_mode", default="key")


def _keys(api_key: str | None, auth_mode: str = "key") -> dict[str, Any]:
    return {} if auth_mode in MANAGED or api_key is None else {"api_key": api_key}


class AzureOpenAIConnection(_Managed):
    """Models of Azure OpenAI."""

    TYPE, YAML = "AzureOpenAI", "azure_open_ai"
    api_base = _Field("api_base")
    api_type = _Field("api_type")
    api_version = _Field("api_version")
    resource_id = _Field("resource_id")

    def __init__(
        self,
        api_base: str,
        api_key: str | None = None,
        api_type: str = "azure",
        api_version: str = "2024-02-01",
        auth_mode: str = "key",
        resource_id: str | None = None,
        **told: Any,
    ) -> None:
        configs = {
            "api_base": api_base,
            "api_type": api_type,
            "api_version": api_version,
            "auth_mode": auth_mode,
            "resource_id": resource_id,
        }
        super().__init__(configs=configs, secrets=_keys(api_key, auth_mode), **told)

    @classmethod
    def from_env(cls, name: str | None = None) -> AzureOpenAIConnection:
        """Out of AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY and OPENAI_API_VERSION. Raises FlowError."""
        return _from_env(cls, name)


class OpenAIConnection(_Keyed):
    """Models of OpenAI, or of a server that speaks as it does."""

    TYPE, YAML = "OpenAI", "open_ai"
    organization = _Field("organization")
    base_url = _Field("base_url")

    def __init__(
        self,
        api_key: str,
        organization: str | None = None,
        base_url: str | None = None,
        **told: Any,
    ) -> None:
        if base_url in ("", "_"):
            base_url = None
        configs = {"organization": organization, "base_url": base_url}
        super().__init__(configs=configs, secrets=_keys(api_key), **told)

    @classmethod
    def from_env(cls, name: str | None = None) -> OpenAIConnection:
        """Out of OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_ORG_ID. Raises FlowError."""
        return _from_env(cls, name)


class ServerlessConnection(_Keyed):
    """A serverless endpoint of Azure. api_base: as it was given; calls go to its `/v1`."""

    TYPE, YAML = "Serverless", "serverless"
    api_base = _Field("api_base")

    def __init__(self, api_key: str, api_base: str, **told: Any) -> None:
        super().__init__(configs={"api_base": api_base}, secrets=_keys(api_key), **told)


class SerpConnection(_Keyed):
    """The search of SerpAPI. api_base: another address for it, as of a proxy; SerpAPI's own unless given."""

    TYPE, YAML = "Serp", "serp"
    api_base = _Field("api_base")

    def __init__(self, api_key: str, api_base: str | None = None, **told: Any) -> None:
        configs = {"api_base": api_base} if api_base else {}
        super().__init__(configs=configs, secrets=_keys(api_key), **told)


class _VectorStore(_Keyed):
    api_base = _Field("api_base")

    def __init__(self, api_key: str, api_base: str, **told: Any) -> None:
        told.setdefault("module", "promptflow_vectordb.connections")
        super().__init__(configs={"api_base": api_base}, secrets=_keys(api_key), **told)


class QdrantConnection(_VectorStore):
    """A Qdrant server."""

    TYPE, YAML = "Qdrant", "qdrant"


class WeaviateConnection(_VectorStore):
    """A Weaviate server."""

    TYPE, YAML = "Weaviate", "weaviate"


class CognitiveSearchConnection(_Managed):
    """Azure AI Search, by its old name."""

    AUDIENCE = "search"
    TYPE, YAML = "CognitiveSearch", "cognitive_search"
    api_base = _Field("api_base")
    api_version = _Field("api_version")

    def __init__(
        self,
        api_base: str,
        api_key: str | None = None,
        api_version: str = "2023-11-01",
        auth_mode: str = "key",
        **told: Any,
    ) -> None:
        configs = {"api_base": api_base, "api_version": api_version, "auth_mode": auth_mode}
        super().__init__(configs=configs, secrets=_keys(api_key, auth_mode), **told)


class AzureAIServicesConnection(_Managed):
    """Azure AI Services."""

    TYPE, YAML = "AzureAIServices", "azure_ai_services"
    endpoint = _Field("endpoint")

    def __init__(
        self, endpoint: str, api_key: str | None = None, auth_mode: str = "key", **told: Any
    ) -> None:
        configs = {"endpoint": endpoint, "auth_mode": auth_mode}
        super().__init__(configs=configs, secrets=_keys(api_key, auth_mode), **told)


class AzureContentSafetyConnection(_Keyed):
    """Azure Content Safety."""

    TYPE, YAML = "AzureContentSafety", "azure_content_safety"
    endpoint = _Field("endpoint")
    api_version = _Field("api_version")
    api_type = _Field("api_type")

    def __init__(
        self,
        api_key: str,
        endpoint: str,
        api_version: str = "2023-10-01",
        api_type: str = "Content Safety",
        **told: Any,
    ) -> None:
        configs = {"endpoint": endpoint, "api_version": api_version, "api_type": api_type}
        super().__init__(configs=configs, secrets=_keys(api_key), **told)


class FormRecognizerConnection(AzureContentSafetyConnection):
    """Azure Form Recognizer."""

    TYPE, YAML = "FormRecognizer", "form_recognizer"

    def __init__(
        self,
        api_key: str,
        endpoint: str,
        api_version: str = "2023-07-31",
        api_type: str = "Form Recognizer",
        **told: Any,
    ) -> None:
        super().__init__(api_key, endpoint, api_version, api_type, **told)


class CustomConnection(Connection):
    """Whatever a tool needs. Its configs and secrets are attributes as well."""

    TYPE, YAML = "Custom", "custom"

    def __init__(
        self,
        secrets: Mapping[str, Any] | None = None,
        configs: Mapping[str, Any] | None = None,
        **told: Any,
    ) -> None:
        super().__init__(secrets=secrets, configs=configs, **told)

    def __getattr__(self, key: str) -> Any:
        # A copy that is being made asks before the two mappings are there.
        for kept in (vars(self).get("secrets", {}), vars(self).get("configs", {})):
            if key in kept:
                return kept[key]
        raise AttributeError(f"The custom connection has no key '{key}'.")


class CustomStrongTypeConnection(Connection):
    """The base of a user's own types: each annotated name is a field, a secret when it says `Secret`."""

    TYPE: ClassVar[str] = "Custom"

    def __init_subclass__(cls, **told: Any) -> None:
        super().__init_subclass__(**told)
        for name, said in inspect.get_annotations(cls).items():
            is_secret = said is Secret or (isinstance(said, str) and said.endswith("Secret"))
            default = cls.__dict__.get(name)
            setattr(cls, name, _Field(name, is_secret=is_secret, default=default))

    def __init__(
        self,
        secrets: Mapping[str, Any] | None = None,
        configs: Mapping[str, Any] | None = None,
        **told: Any,
    ) -> None:
        super().__init__(secrets=secrets, configs=configs, **told)


def as_strong_type(
    connection: Connection, kind: type[CustomStrongTypeConnection]
) -> CustomStrongTypeConnection:
    """The user's own type with what a custom connection holds."""
    return kind(name=connection.name, configs=connection.configs, secrets=connection.secrets)


#: By the `type` of YAML.
TYPES: Mapping[str, type[Connection]] = {
    kind.YAML: kind
    for kind in (
        AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CognitiveSearchConnection,
        SerpConnection, AzureAIServicesConnection, AzureContentSafetyConnection,
        FormRecognizerConnection, QdrantConnection, WeaviateConnection, CustomConnection,
    )
}  # fmt: skip

#: The variables of the environment that a connection may come from, by field: the first that is set
#: counts. Of the two types that models are called through.
VARIABLES: Mapping[type[Connection], Mapping[str, tuple[str, ...]]] = {
    AzureOpenAIConnection: {
        "api_key": ("AZURE_OPENAI_API_KEY",),
        "api_base": ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_BASE"),
        "api_version": ("OPENAI_API_VERSION", "AZURE_OPENAI_API_VERSION"),
    },
    OpenAIConnection: {
        "api_key": ("OPENAI_API_KEY",),
        "base_url": ("OPENAI_BASE_URL",),
        "organization": ("OPENAI_ORG_ID",),
    },
}
_NEEDED = {AzureOpenAIConnection: ("api_key", "api_base"), OpenAIConnection: ("api_key",)}


def from_environment(kind: type[C], environ: Mapping[str, str], name: str | None) -> C | None:
    """The connection that the environment's variables describe; None when a needed one is not set."""
    fields: dict[str, Any] = {
        field: next(environ[each] for each in variables if environ.get(each))
        for field, variables in VARIABLES.get(kind, {}).items()
        if any(environ.get(each) for each in variables)
    }
    needed = next((names for each, names in _NEEDED.items() if each is kind), None)
    if needed is None or any(field not in fields for field in needed):
        return None
    return kind(name=name, **fields)


def _from_env(kind: type[C], name: str | None) -> C:
    found = from_environment(kind, os.environ, name)
    if found is None:
        wanted = [VARIABLES[kind][field][0] for field in _NEEDED[kind]]
        raise FlowError(
            f"The environment describes no {kind.__name__}.", hint=f"Set {' and '.join(wanted)}."
        )
    return found
