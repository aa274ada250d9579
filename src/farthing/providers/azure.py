"""Azure OpenAI: classic deployments and the v1 API, by API key or Microsoft Entra token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlencode

import msgspec

from farthing.base.clock import Clock
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.core.models import Deployment, Kind
from farthing.core.protocols import Attempt
from farthing.providers.entra import TokenSource, scope_of
from farthing.providers.openai import PATHS
from farthing.providers.transport import HttpProvider, Target, path_segment

#: First classic api-version with the Responses API (Azure OpenAI API lifecycle page, 2025-08).
_FIRST_RESPONSES_VERSION = "2025-03-01"


class AzureProvider(HttpProvider):
    """One Azure OpenAI resource.

    With `api_version` the classic paths are used (`/openai/deployments/{name}/…`), without it the v1 API
    (`/openai/v1/…`), which takes the deployment's name as `model`. The spill-over, deployment-name,
    utilisation and rate-limit headers come back in `AnswerHead.headers`.
    """

    key_variables = ("AZURE_OPENAI_API_KEY",)
    passed_headers = frozenset({"x-ms-client-request-id", "x-ms-spillover-deployment"})
    native: ClassVar[Mapping[Kind, tuple[str, ...]]] = {
        "chat": ("openai-chat", "openai-responses", "openai-completions"),
        "embed": ("openai-embeddings",),
    }

    def __init__(
        self, name: str, settings: ProviderSettings, environ: Mapping[str, str], clock: Clock
    ) -> None:
        if settings.base_url is None and environ.get("AZURE_OPENAI_ENDPOINT"):
            settings = msgspec.structs.replace(settings, base_url=environ["AZURE_OPENAI_ENDPOINT"])
        super().__init__(name, settings, environ, clock)
        # People paste the address with or without the API's prefix.
        self._resource = self.base_url.removesuffix("/v1").removesuffix("/openai")
        self._tokens: TokenSource | None = None
        if settings.auth == "entra":
            scope = scope_of(self.base_url)
            self._tokens = TokenSource(name, scope=scope, environ=environ, clock=clock)

    def dialects(self, deployment: Deployment, kind: Kind) -> tuple[str, ...]:
        """As OpenAI; classic versions before 2025-03-01 have no Responses API."""
        spoken = super().dialects(deployment, kind)
        version = self.settings.api_version
        if version is not None and version < _FIRST_RESPONSES_VERSION:
            return tuple(name for name in spoken if name != "openai-responses")
        return spoken

    async def target(self, attempt: Attempt) -> Target:
        """Classic or v1 path, with `api-key` or a bearer token."""
        headers = await self._headers()
        is_lasting = self._tokens is None  # a token runs out
        path = PATHS[attempt.dialect]
        version = self.settings.api_version
        if version is None:
            url = f"{self._resource}/openai/v1{path}"
            return Target(url=url, headers=headers, is_lasting=is_lasting)
        if attempt.dialect != "openai-responses":
            path = f"/deployments/{path_segment(attempt.deployment.remote_name)}{path}"
        query = urlencode({"api-version": version})
        url = f"{self._resource}/openai{path}?{query}"
        return Target(url=url, headers=headers, is_lasting=is_lasting)

    async def listing(self) -> Target | None:
        """The v1 list of models. It names base models, not deployments: Azure has no free list of those."""
        return Target(url=f"{self._resource}/openai/v1/models", headers=await self._headers())

    def auth_rejected(self) -> None:
        """Forget the key or token; the next attempt looks for a new one."""
        super().auth_rejected()
        if self._tokens is not None:
            self._tokens.forget()

    async def aclose(self) -> None:
        """Close the connections, those to the token service included."""
        await super().aclose()
        if self._tokens is not None:
            await self._tokens.aclose()

    async def _headers(self) -> dict[str, str]:
        if self._tokens is not None:
            return {"authorization": f"Bearer {await self._tokens.token()}"}
        return {"api-key": self.required_key()}


build = AzureProvider
