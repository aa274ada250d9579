"""Vendors that speak OpenAI's dialect: one provider class, one row of `vendors.toml` each."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from farthing.base.clock import Clock
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.core.models import Deployment, Kind
from farthing.core.protocols import Attempt
from farthing.providers.openai import PATHS
from farthing.providers.transport import HttpProvider, Target
from farthing.providers.vendors import vendors


class CompatibleProvider(HttpProvider):
    """The vendor that `settings.type` names. Local servers need no key, and get one if it is set."""

    def __init__(
        self, name: str, settings: ProviderSettings, environ: Mapping[str, str], clock: Clock
    ) -> None:
        self._vendor = vendors()[settings.type]
        self.has_usage_option = self._vendor.usage_option
        self.key_variables = self._vendor.key
        self._needs_key = bool(self._vendor.key) and not self._vendor.local
        address = settings.base_url or self._vendor.base_url
        super().__init__(name, msgspec.structs.replace(settings, base_url=address), environ, clock)
        extra = {f"openai-{dialect}" for dialect in self._vendor.dialects}
        optional = tuple(d for d in ("openai-responses", "openai-completions") if d in extra)
        self._spoken: dict[Kind, tuple[str, ...]] = {
            "chat": ("openai-chat", *optional),
            "embed": ("openai-embeddings",) if "openai-embeddings" in extra else (),
        }

    def dialects(self, deployment: Deployment, kind: Kind) -> tuple[str, ...]:
        """As the vendor's row says."""
        return self._spoken.get(kind, ())

    async def target(self, attempt: Attempt) -> Target:
        """The dialect's path below the base URL."""
        headers = self._headers()
        # A key that is not set now may be later.
        is_lasting = bool(headers)
        return Target(
            url=self.base_url + PATHS[attempt.dialect], headers=headers, is_lasting=is_lasting
        )

    async def listing(self) -> Target | None:
        """`GET /models`."""
        return Target(url=f"{self.base_url}/models", headers=self._headers())

    def _headers(self) -> dict[str, str]:
        key = self.required_key() if self._needs_key else self.optional_key()
        return {"authorization": f"Bearer {key}"} if key else {}


build = CompatibleProvider
