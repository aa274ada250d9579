"""Which dialect a deployment is addressed in."""

from __future__ import annotations

import msgspec
import pytest

from farthing.core.calls import Request
from farthing.core.errors import UntranslatableError
from farthing.core.models import Deployment
from farthing.gateway.translate import prepare
from tests.gateway.world import chat

SPOKEN = ("openai-chat", "openai-responses")
PLACE = Deployment(name="d", provider="p", model="m", remote_name="remote")


def asked(request: Request, *dialects: str) -> tuple[str, bool, dict[str, object]]:
    made = prepare(request, msgspec.structs.replace(PLACE, dialects=dialects), SPOKEN)
    return made.dialect, made.is_translated, msgspec.json.decode(made.body)


def test_the_clients_dialect_is_spoken_where_the_provider_speaks_it() -> None:
    dialect, is_translated, body = asked(chat())
    assert (dialect, is_translated, body["model"]) == ("openai-chat", False, "remote")


def test_a_deployment_may_speak_less_than_its_provider() -> None:
    dialect, is_translated, body = asked(chat(), "openai-responses")
    assert (dialect, is_translated, body["model"]) == ("openai-responses", True, "remote")
    assert "input" in body


def test_a_dialect_that_the_provider_lacks_is_not_spoken() -> None:
    with pytest.raises(UntranslatableError, match="cannot answer"):
        asked(chat(), "google-generate")
