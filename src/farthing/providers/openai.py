"""OpenAI: chat completions, legacy completions, responses and embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from farthing.core.models import Kind
from farthing.core.protocols import Attempt
from farthing.providers.transport import HttpProvider, Target

#: Dialect → path below the base URL, the same at OpenAI, Azure v1 and every compatible vendor.
PATHS = {
    "openai-chat": "/chat/completions",
    "openai-completions": "/completions",
    "openai-responses": "/responses",
    "openai-embeddings": "/embeddings",
}


class OpenAIProvider(HttpProvider):
    """api.openai.com, with optional organization and project headers."""

    default_base_url = "https://api.openai.com/v1"
    key_variables = ("OPENAI_API_KEY",)
    passed_headers = frozenset({"openai-beta", "x-client-request-id"})
    native: ClassVar[Mapping[Kind, tuple[str, ...]]] = {
        "chat": ("openai-chat", "openai-responses", "openai-completions"),
        "embed": ("openai-embeddings",),
    }

    async def target(self, attempt: Attempt) -> Target:
        """The dialect's path with a bearer key."""
        return Target(
            url=self.base_url + PATHS[attempt.dialect], headers=self._headers(), is_lasting=True
        )

    async def listing(self) -> Target | None:
        """`GET /models`."""
        return Target(url=f"{self.base_url}/models", headers=self._headers())

    def _headers(self) -> dict[str, str]:
        headers = {"authorization": f"Bearer {self.required_key()}"}
        if self.settings.organization:
            headers["openai-organization"] = self.settings.organization
        if self.settings.project:
            headers["openai-project"] = self.settings.project
        return headers


build = OpenAIProvider
