"""No log line of any library shows a key or an exception's quoted data."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from farthing.base.telemetry.logs import configure_logging, describe_exception, masked
from farthing.core.errors import ConfigError


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("debug", stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    "text",
    [
        "key sk-proj-canary1234567890",
        "Authorization: Bearer canary.canary-canary",
        "{'api-key': 'canary0123456789'}",
        '{"x-api-key": "canary0123456789"}',
        "GET https://h/v1?key=canary12345&alt=sse",
        "postgresql://user:canary@host/db",
        "token eyJcanarycanary.eyJcanary.canary",
        "AIzaCanary012345678901234567890",
        "gsk_canary123456789",
        "api_key=canary123",
    ],
)
def test_what_looks_like_a_key_is_masked(text: str) -> None:
    assert "canary" not in masked(text).lower()
    assert "***" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "Budget 'sales' has $0.42 left.",
        "GET /v1/models 200",
        "key_id=key_01h",
        "input_tokens: 120",
        "call_01hzy took 0.2 s",
        "postgresql://farthing@db/money",
    ],
)
def test_ordinary_lines_stay_as_they_are(text: str) -> None:
    assert masked(text) == text


def test_records_of_other_libraries_are_masked_too(log: io.StringIO) -> None:
    logging.getLogger("some.library").warning("sent %s", {"Authorization": "Bearer canary-1234"})
    assert "canary" not in log.getvalue()
    assert "WARNING some.library: sent" in log.getvalue()


def test_an_exception_is_logged_by_place_and_type_without_its_message(log: io.StringIO) -> None:
    try:
        json.loads('{"prompt": canary}')
    except ValueError:
        logging.getLogger("x").exception("could not parse")
    try:
        raise KeyError("canary")
    except KeyError:
        logging.getLogger("x").exception("could not find")
    text = log.getvalue()
    assert "json.decoder.JSONDecodeError" in text
    assert "test_logs.py" in text
    assert "canary" not in text


def test_messages_of_our_own_errors_are_kept_with_their_cause() -> None:
    try:
        try:
            raise ValueError("canary")
        except ValueError as error:
            raise ConfigError("The port is taken.") from error
    except ConfigError as error:
        text = describe_exception(error)
    assert "ConfigError: The port is taken." in text
    assert "caused by\nbuiltins.ValueError\n" in text
    assert "canary" not in text


def test_libraries_that_print_bodies_do_not_reach_debug(log: io.StringIO) -> None:
    logging.getLogger("httpx").debug("body canary")
    logging.getLogger("asyncio").debug("canary")
    assert log.getvalue() == ""
