"""One file per dialect; `codec(name)` is the door."""

from __future__ import annotations

from functools import lru_cache

from farthing.base.registry import Registry
from farthing.wire.codec import Codec

_REGISTRY: Registry[Codec] = Registry(
    "dialect",
    "farthing.dialects",
    {
        "openai-chat": "farthing.wire.dialects.openai_chat:CODEC",
        "openai-completions": "farthing.wire.dialects.openai_completions:CODEC",
        "openai-responses": "farthing.wire.dialects.openai_responses:CODEC",
        "openai-embeddings": "farthing.wire.dialects.openai_embeddings:CODEC",
        "anthropic-messages": "farthing.wire.dialects.anthropic_messages:CODEC",
        "google-generate": "farthing.wire.dialects.google_generate:CODEC",
    },
)


@lru_cache(64)
def codec(name: str) -> Codec:
    """The codec of a dialect. Raises ConfigError listing the known ones."""
    return _REGISTRY.get(name)


def dialects() -> tuple[str, ...]:
    """All dialect names, sorted."""
    return tuple(_REGISTRY)
