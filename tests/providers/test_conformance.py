"""The built-in providers pass the same class that a plug-in's author runs."""

from __future__ import annotations

from farthing.base.config.settings import Provider as Settings
from farthing.providers.anthropic import AnthropicProvider
from farthing.providers.azure import AzureProvider
from farthing.providers.compatible import CompatibleProvider
from farthing.providers.google import GoogleProvider
from farthing.providers.openai import OpenAIProvider
from farthing.testing.providers import CANARY, ProviderConformance


class TestOpenAI(ProviderConformance):
    factory = OpenAIProvider
    environ = {"OPENAI_API_KEY": CANARY}


class TestAzure(ProviderConformance):
    factory = AzureProvider
    environ = {"AZURE_OPENAI_API_KEY": CANARY}


class TestAnthropic(ProviderConformance):
    factory = AnthropicProvider
    environ = {"ANTHROPIC_API_KEY": CANARY}


class TestGoogle(ProviderConformance):
    factory = GoogleProvider
    environ = {"GEMINI_API_KEY": CANARY}


class TestCompatible(ProviderConformance):
    factory = CompatibleProvider

    def settings(self, base_url: str) -> Settings:
        return Settings(type="vllm", base_url=base_url)
