"""Anthropic: the Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from farthing.core.models import Kind
from farthing.core.protocols import Attempt
from farthing.providers.transport import HttpProvider, Target

#: The only version of the API so far; betas are opted into with `anthropic-beta`.
API_VERSION = "2023-06-01"


class AnthropicProvider(HttpProvider):
    """api.anthropic.com. The client's `anthropic-version` and `anthropic-beta` are passed on."""

    default_base_url = "https://api.anthropic.com"
    key_variables = ("ANTHROPIC_API_KEY",)
    passed_headers = frozenset({"anthropic-version", "anthropic-beta"})
    native: ClassVar[Mapping[Kind, tuple[str, ...]]] = {"chat": ("anthropic-messages",)}

    async def target(self, attempt: Attempt) -> Target:
        """`POST /v1/messages`."""
        return Target(url=f"{self._root}/messages", headers=self._headers(), is_lasting=True)

    async def listing(self) -> Target | None:
        """`GET /v1/models`; 1,000 is the page's upper bound and above the number of models."""
        return Target(url=f"{self._root}/models?limit=1000", headers=self._headers())

    @property
    def _root(self) -> str:
        return self.base_url.removesuffix("/v1") + "/v1"

    def _headers(self) -> dict[str, str]:
        return {"x-api-key": self.required_key(), "anthropic-version": API_VERSION}


build = AnthropicProvider
