"""Each vendor's addresses and headers, as its documentation has them."""

from __future__ import annotations

import pytest

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Provider as Settings
from farthing.core.models import Deployment
from farthing.core.protocols import Attempt
from farthing.providers.azure import AzureProvider
from farthing.providers.compatible import CompatibleProvider
from farthing.providers.directory import provider_types
from farthing.providers.google import GoogleProvider
from farthing.providers.openai import OpenAIProvider
from farthing.providers.transport import HttpProvider, Target
from farthing.providers.vendors import vendors

AZURE = "https://acme.openai.azure.com"


async def target(
    provider: HttpProvider, dialect: str, *, remote: str = "gpt-4o", stream: bool = False
) -> Target:
    deployment = Deployment(name="d", provider="p", model="gpt-4o", remote_name=remote)
    return await provider.target(
        Attempt(call_id="c", deployment=deployment, dialect=dialect, body=b"{}", stream=stream)
    )


def azure(**settings: object) -> AzureProvider:
    return AzureProvider(
        "p",
        Settings(type="azure", **settings),  # type: ignore[arg-type]
        {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": f"{AZURE}/"},
        SystemClock(),
    )


@pytest.mark.parametrize(
    ("settings", "dialect", "url"),
    [
        ({}, "openai-chat", f"{AZURE}/openai/v1/chat/completions"),
        ({}, "openai-responses", f"{AZURE}/openai/v1/responses"),
        ({"base_url": f"{AZURE}/openai/v1/"}, "openai-chat", f"{AZURE}/openai/v1/chat/completions"),
        (
            {"api_version": "2024-10-21"},
            "openai-chat",
            f"{AZURE}/openai/deployments/my%20prod/chat/completions?api-version=2024-10-21",
        ),
        (
            {"api_version": "2024-10-21"},
            "openai-embeddings",
            f"{AZURE}/openai/deployments/my%20prod/embeddings?api-version=2024-10-21",
        ),
        (
            {"api_version": "2025-04-01-preview"},
            "openai-responses",
            f"{AZURE}/openai/responses?api-version=2025-04-01-preview",
        ),
    ],
)
async def test_azure_has_classic_and_v1_addresses(
    settings: dict[str, object], dialect: str, url: str
) -> None:
    found = await target(azure(**settings), dialect, remote="my prod")
    assert found.url == url
    assert found.headers == {"api-key": "k"}


def test_old_azure_versions_have_no_responses_api() -> None:
    deployment = Deployment(name="d", provider="p", model="m", remote_name="m")
    assert "openai-responses" not in azure(api_version="2024-10-21").dialects(deployment, "chat")
    assert "openai-responses" in azure().dialects(deployment, "chat")


@pytest.mark.parametrize(
    ("remote", "stream", "path"),
    [
        ("gemini-3.5-flash", False, "/models/gemini-3.5-flash:generateContent"),
        ("gemini-3.5-flash", True, "/models/gemini-3.5-flash:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", False, "/tunedModels/mine:generateContent"),
    ],
)
async def test_google_keeps_model_and_stream_in_the_path_and_the_key_in_a_header(
    remote: str, stream: bool, path: str
) -> None:
    provider = GoogleProvider("p", Settings(type="google"), {"GOOGLE_API_KEY": "k"}, SystemClock())
    found = await target(provider, "google-generate", remote=remote, stream=stream)
    assert found.url == f"https://generativelanguage.googleapis.com/v1beta{path}"
    assert found.headers == {"x-goog-api-key": "k"}


async def test_openai_says_organization_and_project() -> None:
    settings = Settings(type="openai", organization="org", project="proj", key="env:MINE")
    provider = OpenAIProvider(
        "p", settings, {"MINE": "k", "OPENAI_API_KEY": "other"}, SystemClock()
    )
    found = await target(provider, "openai-responses")
    assert found.url == "https://api.openai.com/v1/responses"
    assert found.headers == {
        "authorization": "Bearer k",
        "openai-organization": "org",
        "openai-project": "proj",
    }
    assert "Bearer" not in repr(found)


@pytest.mark.parametrize("name", ["mistral", "groq", "ollama", "vllm"])
async def test_a_compatible_vendor_is_its_row(name: str) -> None:
    row = vendors()[name]
    environ = {row.key[0]: "k"} if row.key else {}
    provider = CompatibleProvider("p", Settings(type=name), environ, SystemClock())
    found = await target(provider, "openai-chat")
    assert found.url == f"{row.base_url}/chat/completions"
    assert found.headers == ({"authorization": "Bearer k"} if row.key else {})
    assert provider.has_usage_option is row.usage_option


def test_the_rows_agree_with_the_code_about_keys_and_addresses() -> None:
    for name, row in vendors().items():
        factory = provider_types().get(name)
        if isinstance(factory, type) and issubclass(factory, HttpProvider):
            if factory.key_variables:
                assert factory.key_variables == row.key, name
            if factory.default_base_url:
                assert factory.default_base_url == row.base_url, name


def test_every_row_has_a_source_and_a_date() -> None:
    for name, row in vendors().items():
        assert row.source, name
        assert len(row.date) == 10, name
