"""What is peculiar to one face and needs no gateway."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import BadRequestError, ContentFilteredError, UnknownModelError
from farthing.server.faces.azure import encode_error
from farthing.server.faces.google import JsonArray
from farthing.server.openapi import openapi_document


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9)), max_size=5))
def test_googles_array_stream_is_the_list_of_its_events(events: list[dict[str, str]]) -> None:
    framing = JsonArray()
    wires = [b"data: " + msgspec.json.encode(event) + b"\r\n\r\n" for event in events]
    sent = b"".join(framing.frame(wire) for wire in wires) + framing.end()
    assert msgspec.json.decode(sent) == events


def test_one_write_with_two_events_gives_two_elements() -> None:
    framing = JsonArray()
    sent = framing.frame(b'data: {"a":1}\n\ndata: {"b":2}\n\n') + framing.end()
    assert msgspec.json.decode(sent) == [{"a": 1}, {"b": 2}]


def test_azure_says_deployment_not_found() -> None:
    error = msgspec.json.decode(encode_error(UnknownModelError("There is no 'x' here.")))
    assert error["error"]["code"] == "DeploymentNotFound"


def test_azure_gives_a_filtered_prompt_its_inner_error() -> None:
    error = msgspec.json.decode(encode_error(ContentFilteredError("Filtered.")))["error"]
    assert error["code"] == "content_filter"
    assert error["innererror"]["code"] == "ResponsibleAIPolicyViolation"


def test_azure_names_the_field_at_fault() -> None:
    error = msgspec.json.decode(encode_error(BadRequestError("Too low.", param="n")))["error"]
    assert error == {
        "code": "invalid_request",
        "message": "Too low.",
        "param": "n",
        "type": "invalid_request_error",
    }


def test_every_path_of_the_document_has_an_operation_with_its_own_id() -> None:
    document = openapi_document()
    entries = [entry for path in document["paths"].values() for entry in path.values()]
    ids = [entry["operationId"] for entry in entries]
    assert len(ids) == len(set(ids))
    assert {"/v1/chat/completions", "/admin/deployments", "/ready"} <= set(document["paths"])


def test_the_documents_references_all_lead_somewhere() -> None:
    document = openapi_document()
    schemas = document["components"]["schemas"]
    for name in _references(document):
        assert name in schemas


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"].rpartition("/")[2]] if isinstance(value.get("$ref"), str) else []
        return own + [name for inner in value.values() for name in _references(inner)]
    if isinstance(value, list):
        return [name for inner in value for name in _references(inner)]
    return []


@pytest.mark.parametrize("kind", ["admin", "openai", "azure", "anthropic", "google"])
def test_the_document_covers_every_face(kind: str) -> None:
    tags = {
        tag
        for path in openapi_document()["paths"].values()
        for entry in path.values()
        for tag in entry["tags"]
    }
    assert kind in tags
