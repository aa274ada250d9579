"""SerpAPI: results of a web search, as that service's JSON."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode, urlsplit

from farthing.flows.code.tool import ToolProvider, node
from farthing.flows.connections.types import SerpConnection
from farthing.flows.tools.errors import SerpAPISystemError, SerpAPIUserError, ToolValidationError
from farthing.flows.tools.service import Service, key_of

_HOST = "https://serpapi.com"
SERVICE = Service(
    name="SerpAPI",
    refused=SerpAPIUserError,
    broken=SerpAPISystemError,
    refusal="Look at engine, location and num: engines differ in what they take, and 'google' is the default.",
)


class SafeMode(StrEnum):
    """Whether explicit results are left out."""

    ACTIVE = "active"
    OFF = "off"


class Engine(StrEnum):
    """The engines that the tool names; any other name is handed on to SerpAPI."""

    GOOGLE = "google"
    BING = "bing"


class SerpAPI(ToolProvider):
    """Searches with the key of one connection."""

    def __init__(self, connection: SerpConnection) -> None:
        self.connection = connection

    @node
    def search(
        self,
        query: str,
        location: str | None = None,
        safe: SafeMode = SafeMode.OFF,
        num: int = 10,
        engine: Engine = Engine.GOOGLE,
    ) -> Any:
        """The results, as SerpAPI has them. num: how many, at most; 0 leaves it to the engine.

        Raises SerpAPIUserError (key, quota, a search that it refuses), SerpAPISystemError, ToolValidationError.
        """
        key = key_of(self.connection, SerpConnection, "SerpAPI")
        asked: dict[str, Any] = {"q": query}
        if location is not None:
            asked["location"] = location
        asked |= {"api_key": key, "engine": str(engine)}
        is_google = str(engine).lower() == Engine.GOOGLE
        if safe == SafeMode.ACTIVE:
            asked.update({"safe": "Active"} if is_google else {"safeSearch": "Strict"})
        if int(num) > 0:
            asked["num" if is_google else "count"] = int(num)
        asked["source"] = "python"
        url = f"{_address(self.connection)}/search?{urlencode(asked)}"
        return SERVICE.ask("GET", url, connection=self.connection.name)


@node
def search(
    connection: SerpConnection,
    query: str,
    location: str | None = None,
    safe: SafeMode = SafeMode.OFF,
    num: int = 10,
    engine: Engine = Engine.GOOGLE,
) -> Any:
    """See `SerpAPI.search`."""
    return SerpAPI(connection).search(query, location, safe, num, engine)


def _address(connection: SerpConnection) -> str:
    """Where to ask. The key is part of the address, so it goes over TLS or stays on this machine."""
    base = str(connection.api_base or _HOST).rstrip("/")
    parts = urlsplit(base)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise ToolValidationError(
            f"The connection '{connection.name}' leads to {base[:100]}, and a key must not go there in the clear.",
            hint="Write an address that begins with https://, or leave api_base out.",
        )
    return base


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
