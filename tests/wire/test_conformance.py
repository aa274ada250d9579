"""Anthropic's and Google's codecs keep the promises that every codec makes."""

from __future__ import annotations

from farthing.testing.codecs import CodecConformance
from farthing.wire.dialects.anthropic_messages import CODEC as ANTHROPIC
from farthing.wire.dialects.google_generate import CODEC as GOOGLE


class TestAnthropicMessages(CodecConformance):
    codec = ANTHROPIC


class TestGoogleGenerate(CodecConformance):
    codec = GOOGLE
