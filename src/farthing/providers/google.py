"""Google Gemini: generateContent, and embeddings through its OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from farthing.core.models import Kind
from farthing.core.protocols import Attempt
from farthing.providers.transport import HttpProvider, Target, path_segment


class GoogleProvider(HttpProvider):
    """generativelanguage.googleapis.com. The key travels in a header, never in the address."""

    default_base_url = "https://generativelanguage.googleapis.com/v1beta"
    key_variables = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    passed_headers = frozenset({"x-goog-api-client"})
    native: ClassVar[Mapping[Kind, tuple[str, ...]]] = {
        "chat": ("google-generate",),
        "embed": ("openai-embeddings",),
    }

    async def target(self, attempt: Attempt) -> Target:
        """The model's path (the dialect keeps model and stream flag there), or `/openai/embeddings`."""
        key = self.required_key()
        if attempt.dialect == "openai-embeddings":
            headers = {"authorization": f"Bearer {key}"}
            return Target(url=f"{self._root}/openai/embeddings", headers=headers, is_lasting=True)
        collection, _, model = attempt.deployment.remote_name.rpartition("/")
        verb = "streamGenerateContent?alt=sse" if attempt.stream else "generateContent"
        url = f"{self._root}/{collection or 'models'}/{path_segment(model)}:{verb}"
        return Target(url=url, headers={"x-goog-api-key": key}, is_lasting=True)

    async def listing(self) -> Target | None:
        """`GET /models`; 1,000 is the page's upper bound."""
        headers = {"x-goog-api-key": self.required_key()}
        return Target(url=f"{self._root}/models?pageSize=1000", headers=headers)

    @property
    def _root(self) -> str:
        root = self.base_url
        return root if root.endswith(("/v1", "/v1beta", "/v1alpha")) else f"{root}/v1beta"


build = GoogleProvider
