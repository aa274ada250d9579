"""Prompt caching: which prefix of a prompt was seen lately. Keeps hashes, never text."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import msgspec

from farthing.core.usage import Usage
from farthing.sim.asks import Ask
from farthing.sim.text import count, pieces

#: Shortest cacheable prefix and its granularity, tokens (OpenAI's prompt-caching guide, 2025-10).
MIN_TOKENS = 1024
STEP_TOKENS = 128
#: Seconds that an untouched prefix stays.
TTL_S = {"5m": 300.0, "1h": 3600.0, "implicit": 600.0}
_MAX_ENTRIES = 20_000


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens read from the cache and written to it (in all, and for an hour)."""

    read: int = 0
    written: int = 0
    written_1h: int = 0


class PrefixCache:
    """The cache of one deployment."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def visit(self, ask: Ask, now: float, *, keep: bool = True) -> Cached:
        """What this prompt finds, leaving its own prefixes for the next one (unless not `keep`)."""
        if any(turn.cache for turn in ask.turns):
            return self._explicit(ask, now, keep)
        said = pieces(ask.text)
        if len(said) < MIN_TOKENS:
            return Cached()
        hasher = blake2b(digest_size=16)
        read, is_prefix = 0, True
        for start in range(0, len(said) - STEP_TOKENS + 1, STEP_TOKENS):
            hasher.update("".join(said[start : start + STEP_TOKENS]).encode("utf-8", "replace"))
            end = start + STEP_TOKENS
            if end >= MIN_TOKENS:
                is_prefix = self._touch(hasher.digest(), now, TTL_S["implicit"], keep) and is_prefix
                read = end if is_prefix else read
        return Cached(read=read)

    def _explicit(self, ask: Ask, now: float, keep: bool) -> Cached:
        """Anthropic's breakpoints: the longest known marked prefix is read, longer ones are written."""
        hasher = blake2b(digest_size=16)
        tokens = read = written = written_1h = 0
        for turn in ask.turns:
            hasher.update(f"{turn.role}\x1f{turn.text}\x1e".encode("utf-8", "replace"))
            tokens += count(f"{turn.role}: {turn.text}\n")
            if turn.cache is None or tokens < MIN_TOKENS:
                continue
            ttl = turn.cache if turn.cache in TTL_S else "5m"
            if self._touch(hasher.digest(), now, TTL_S[ttl], keep):
                read, written, written_1h = tokens, 0, 0
            else:
                fresh = tokens - read - written
                written += fresh
                written_1h += fresh if ttl == "1h" else 0
        return Cached(read=read, written=written, written_1h=written_1h)

    def _touch(self, key: bytes, now: float, ttl_s: float, keep: bool) -> bool:
        if not keep:
            return self._until.get(key, 0.0) > now
        known = self._until.pop(key, 0.0) > now
        self._until[key] = now + ttl_s
        if len(self._until) > _MAX_ENTRIES:
            self._until.popitem(last=False)
        return known


def usage_of(prompt_tokens: int, cached: Cached, output: int, reasoning: int) -> Usage:
    """The usage of a call; cache figures never exceed the prompt."""
    read = min(cached.read, prompt_tokens)
    written = min(cached.written, prompt_tokens - read)
    return Usage(
        input_tokens=prompt_tokens,
        output_tokens=output,
        cached_input_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(cached.written_1h, written),
        reasoning_tokens=reasoning,
    )
