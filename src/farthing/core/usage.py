"""Usage: the tokens and extras that a vendor bills, in one meaning for all vendors."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call used. Totals include their parts, whatever the vendor's own habit is.

    input_tokens includes cached, cache-write, audio and image input tokens. (Anthropic reports input
    without cache reads and writes; its codec adds them.)
    output_tokens includes reasoning, audio and image output tokens. (Google reports thoughts apart; its
    codec adds them.)
    cache_write_tokens is every token written to a cache; cache_write_1h_tokens is the part of it kept for
    an hour instead of five minutes.
    is_estimated: the vendor gave no usage and the figures are ours; a later correction may come.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    cached_input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    web_search_requests: int = 0
    is_estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Input plus output tokens."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """Field by field; the sum is estimated when either side is."""
        sums = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__struct_fields__
            if name != "is_estimated"
        }
        return Usage(**sums, is_estimated=self.is_estimated or other.is_estimated)
