"""The built-in dialects pass the same class that a plug-in's author runs."""

from __future__ import annotations

from farthing.testing.codecs import CodecConformance
from farthing.wire.dialects import codec


class TestAnthropicMessages(CodecConformance):
    codec = codec("anthropic-messages")


class TestGoogleGenerate(CodecConformance):
    codec = codec("google-generate")
