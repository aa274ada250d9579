"""The running house, one per worker, and the vendors' clients pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.compat.house import House, open_house


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The simulator and the gateway as processes."""
    with open_house(tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.fixture(scope="session")
def openai_client(house: House, require_sdk: Callable[[str], ModuleType]) -> Iterator[Any]:
    """`openai.OpenAI` with one URL changed."""
    sdk = require_sdk("openai")
    with sdk.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def anthropic_client(house: House, require_sdk: Callable[[str], ModuleType]) -> Iterator[Any]:
    """`anthropic.Anthropic` with one URL changed."""
    sdk = require_sdk("anthropic")
    with sdk.Anthropic(base_url=house.url, api_key=house.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def google_client(house: House, require_sdk: Callable[[str], ModuleType]) -> Iterator[Any]:
    """`google.genai.Client` with one URL changed."""
    sdk = require_sdk("google.genai")
    options = sdk.types.HttpOptions(base_url=house.url)
    with sdk.Client(api_key=house.key, http_options=options) as client:
        yield client
