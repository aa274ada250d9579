"""Fixtures for all tests: services, SDKs, and a fence that keeps every test on this machine."""

from __future__ import annotations

import importlib
import ipaddress
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

ROOT_MARKERS = {"compat": "compat", "chaos": "chaos", "studio": "browser"}
SERVICES = {
    "postgres": ("FARTHING_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test"),
    "redis": ("FARTHING_TEST_REDIS", "redis://127.0.0.1:6379/0"),
}
IS_CI = os.environ.get("FARTHING_CI") == "1"

# Shared machines stall; a deadline per example would fail for reasons that are not ours.
settings.register_profile("farthing", deadline=None, print_blob=True)
settings.load_profile("farthing")


def pytest_configure() -> None:
    """Hide the developer's keys and settings, and close the way out."""
    for name in list(os.environ):
        is_ours = name.startswith("FARTHING_") and not name.startswith(
            ("FARTHING_TEST_", "FARTHING_CI", "FARTHING_SHARED")
        )
        if is_ours or name.endswith("_API_KEY"):
            del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    sys.addaudithook(_stay_on_this_machine)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by folder (compat, chaos, studio) and by the services a test asks for."""
    for item in items:
        for folder, marker in ROOT_MARKERS.items():
            if f"tests/{folder}/" in item.path.as_posix():
                item.add_marker(marker)
        if {"postgres_url", "require_service"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("service")


@pytest.fixture(scope="session")
def require_service() -> Callable[[str], str]:
    """`require_service("postgres")` is the URL of a running service; absent, it skips (in CI: fails)."""

    def require(name: str) -> str:
        variable, default = SERVICES[name]
        url = os.environ.get(variable) or default
        parts = urlsplit(url)
        try:
            socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), 2).close()
        except OSError:
            _absent(f"{name} does not listen at {parts.hostname}:{parts.port}; set {variable}.")
        return url

    return require


@pytest.fixture(scope="session")
def require_sdk() -> Callable[[str], ModuleType]:
    """`require_sdk("openai")` imports a vendor's SDK; absent, it skips (in CI: fails)."""

    def require(name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            _absent(f"{name} is not installed; it comes with pip install -e .[compat].")

    return require


@pytest.fixture
async def postgres_url(require_service: Callable[[str], str]) -> AsyncIterator[str]:
    """The URL of an empty Postgres database of the test's own, dropped afterwards."""
    import asyncpg

    server = require_service("postgres")
    name = f"farthing_test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


def _absent(reason: str) -> NoReturn:
    if IS_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def _service_hosts() -> set[str]:
    urls = (os.environ.get(variable) or default for variable, default in SERVICES.values())
    return {urlsplit(url).hostname or "" for url in urls}


def _stay_on_this_machine(event: str, args: tuple[Any, ...]) -> None:
    # A library that calls home would make tests slow, flaky and untrue of an air-gapped machine.
    # OSError, so that the library takes the path it takes without a network.
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = str(args[1][0])
    elif event == "socket.getaddrinfo" and args[0]:
        host = args[0].decode() if isinstance(args[0], bytes) else str(args[0])
    else:
        return
    if not _is_here(host):
        raise ConnectionRefusedError(f"Tests talk to this machine only, not to {host}.")


def _is_here(host: str) -> bool:
    if host in {"", "localhost"} or host == socket.gethostname() or host in _service_hosts():
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
