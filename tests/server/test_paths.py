"""A method and a path lead to one face and one operation."""

from __future__ import annotations

import pytest

from farthing.core.errors import NotFoundError
from farthing.server.app import FACES
from farthing.server.paths import Found, MethodNotAllowedError, Paths
from farthing.wire.edge.exchange import Exchange

PATHS = Paths(FACES)


def find(method: str, path: str, query: str = "", **headers: str) -> Found:
    return PATHS.find(request(method, path, query, **headers))


def request(method: str, path: str, query: str = "", **headers: str) -> Exchange:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange.apart(method, f"{path}?{query}", named)


def test_the_list_of_models_goes_to_the_face_that_the_request_looks_like() -> None:
    assert find("GET", "/v1/models").face.name == "openai"
    assert find("GET", "/v1/models", anthropic_version="2023-06-01").face.name == "anthropic"
    assert find("GET", "/v1/models", x_goog_api_key="k").face.name == "google"
    assert find("GET", "/v1/models", query="key=k").face.name == "google"
    assert find("GET", "/v1beta/models").face.name == "google"


def test_a_model_name_may_hold_slashes() -> None:
    assert find("GET", "/v1/models/sim/gpt-4o").parameters == {"model": "sim/gpt-4o"}
    found = find("POST", "/v1beta/models/sim/gemini:streamGenerateContent")
    assert found.parameters == {"model": "sim/gemini"}
    assert "streamed" in found.operation.summary
    found = find("POST", "/openai/deployments/eu/gpt-4o/chat/completions")
    assert (found.face.name, found.parameters) == ("azure", {"deployment": "eu/gpt-4o"})


def test_azures_second_generation_of_paths_is_openais_below_another_prefix() -> None:
    assert find("POST", "/openai/v1/responses").face.name == "azure"


def test_head_is_answered_like_get_and_a_trailing_slash_is_forgiven() -> None:
    assert find("HEAD", "/health").operation.path == "/health"
    assert find("POST", "/v1/chat/completions/").operation.path == "/v1/chat/completions"


def test_a_path_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="/v1/chat/completions"):
        find("POST", "/chat/completions")


def test_another_method_is_told_which_to_use() -> None:
    with pytest.raises(MethodNotAllowedError, match="Use POST") as caught:
        find("GET", "/v1/chat/completions")
    assert caught.value.allowed == ["POST"]


@pytest.mark.parametrize(
    ("path", "face"),
    [
        ("/openai/what", "azure"),
        ("/v1beta/what", "google"),
        ("/v1/messages/what", "anthropic"),
        ("/admin/what", "admin"),
        ("/v1/what", "openai"),
        ("/", "openai"),
    ],
)
def test_a_refusal_is_written_by_the_face_whose_path_it_resembles(path: str, face: str) -> None:
    assert PATHS.face_for(request("POST", path)).name == face
