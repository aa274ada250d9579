"""The built-in dialects pass the same class that a plug-in's author runs."""

from __future__ import annotations

from farthing.testing.codecs import CodecConformance
from farthing.wire.dialects import codec


class TestOpenAIChat(CodecConformance):
    codec = codec("openai-chat")


class TestOpenAICompletions(CodecConformance):
    codec = codec("openai-completions")


class TestOpenAIResponses(CodecConformance):
    codec = codec("openai-responses")


class TestAnthropicMessages(CodecConformance):
    codec = codec("anthropic-messages")


class TestGoogleGenerate(CodecConformance):
    codec = codec("google-generate")
