"""Prompty's own samples run here or are refused for a stated reason, and its conformance vectors hold.

FARTHING_TEST_PROMPTY names a checkout of microsoft/prompty; without one nothing here runs. Samples are found, not
listed: whatever a checkout has is tried.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.core.errors import FlowFormatError
from farthing.flows.models import GatewayModels
from farthing.flows.open import open_flow
from farthing.flows.prompts.templates import render
from farthing.flows.prompty.answers import AnswerFormatError, result_of
from farthing.flows.prompty.file import Dialect, PromptyFile
from farthing.flows.prompty.format import load
from farthing.flows.prompty.messages import Marked, conversation, text_of
from farthing.flows.prompty.prompty import Prompty
from tests.gateway.world import DONE, LOCAL, chunk, usage_chunk, whole, world

CHECKOUT = Path(os.environ.get("FARTHING_TEST_PROMPTY", "") or "no checkout")
SAMPLES = sorted(
    str(path.relative_to(CHECKOUT)) for path in CHECKOUT.rglob("*.prompty") if path.is_file()
)
VECTORS = CHECKOUT / "schema/tsp-output/.typra-generated/vectors.json"

#: Why samples are refused, by a part of the message; each has to occur, so that none is out of date.
REFUSALS = (
    "names no model",
    "does not stand between two lines of dashes",  # front matter is where a model is named
    "is 'image', which does not run here",
    "is 'mcp', which does not run here",
    "is 'openapi', which does not run here",
    "is 'my_provider', which does not run here",
)
#: Vectors that do not hold here, each with its reason.
DIFFERENCES = {
    "template_string_invalid": "a template may be one word, as the text of the specification has it",
    "env_missing_error": "a connection is not used, so its variables may be unset",
    "image_apitype_load": "images are not made here",
    "tools_custom_load": "only functions are told to a model",
    "tools_mcp_load": "only functions are told to a model",
    "tools_openapi_load": "only functions are told to a model",
    "chat_structured_invalid_json": "an answer that is not what outputs say is a failed line",
}

pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(
        not SAMPLES, reason="FARTHING_TEST_PROMPTY names no checkout of microsoft/prompty"
    ),
]


def vectors(operation: str) -> list[Any]:
    """The vectors of one operation that are within reach here, as parameters."""
    if not VECTORS.is_file():
        return []
    told = json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
    found = [each["vector"] for each in told if each["operation"] == operation]
    return [pytest.param(each, id=each["name"]) for each in found]


def filler(file: PromptyFile) -> Iterator[tuple[str, object]]:
    """Something for each input that has no default."""
    values = {
        "thread": [{"role": "user", "content": "Before"}],
        "audio": "data:audio/wav;base64,AA==",
    }
    for each in file.signature:
        if each.default is None:
            kind = file.rich.get(each.name, "")
            yield each.name, values.get(kind, "https://example.com/a.png" if kind else "something")


@pytest.mark.parametrize("name", SAMPLES or ["none"])
async def test_a_sample_runs_or_is_refused_for_a_reason(name: str, tmp_path: Path) -> None:
    path = CHECKOUT / name
    try:
        file = load(path)
        Prompty.load(path).check_model()
    except FlowFormatError as error:
        assert any(reason in error.message for reason in REFUSALS), str(error)
        assert error.hint
        return
    if file.api == "embedding":
        body = Prompty.load(path)._body((), dict(filler(file)))
        assert set(body) == {"model", "input"}
        return
    told = (
        {"id": "m"}
        if file.dialect is Dialect.SECOND
        else {"configuration": {"azure_deployment": "m"}}
    )
    stream = [chunk({"content": "{}"}), chunk(finish="stop"), usage_chunk(), DONE]
    answer = json.dumps(dict.fromkeys(file.outputs, "x"))
    async with world(
        tmp_path, {"a": [stream if file.parameters.get("stream") else [whole(answer)]]}
    ) as it:
        flow = open_flow(
            path,
            models=GatewayModels(it.gateway, LOCAL),
            connections=None,  # type: ignore[arg-type]  # a prompty needs none
            clock=SystemClock(),
            init={"model": told},
        )
        result = await flow.run(file.samples or dict(filler(file)))
        assert result.error is None, str(result.error)
        assert len(it.provider.attempts) == 1
    assert set(result.outputs) == set(file.outputs or ("output",))


def test_each_reason_to_refuse_occurs_in_the_samples() -> None:
    told = []
    for name in SAMPLES:
        try:
            Prompty.load(CHECKOUT / name).check_model()
        except FlowFormatError as error:
            told.append(error.message)
    assert [reason for reason in REFUSALS if not any(reason in each for each in told)] == []


def test_each_difference_is_that_of_a_vector() -> None:
    known = {each.id for name in ("load", "process") for each in vectors(name)}
    assert set(DIFFERENCES) <= known


@pytest.mark.parametrize("vector", vectors("load"))
def test_a_vector_of_loading_holds(
    vector: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, expected = vector["input"], vector["expected"]
    for name, value in given.get("env", {}).items():
        monkeypatch.setenv(name, value)
    problem = loading_problem(given, expected, tmp_path)
    if vector["name"] in DIFFERENCES:
        assert problem, "it holds now: take it out of DIFFERENCES"
    else:
        assert not problem


def loading_problem(given: dict[str, Any], expected: dict[str, Any], folder: Path) -> str:
    """What is other than expected, or nothing."""
    try:
        prompty = Prompty.load(file_of(given, folder))
        if "inputs" in given:
            taken = prompty._inputs(given["inputs"])
    except Exception as error:
        return "" if "error" in expected else f"refused: {error}"
    if "error" in expected:
        return "is not refused"
    file, model = prompty.file, expected.get("model") or {}
    made = {
        "name": file.name,
        "id": file.model,
        "instructions": file.template.strip(),
        "validated_inputs": taken if "inputs" in given else None,
        "inputs": [each.name for each in file.inputs],
        "outputs": list(file.outputs),
    }
    want = {
        key: expected[key]
        for key in ("name", "instructions", "validated_inputs")
        if key in expected
    }
    want |= {"id": model["id"]} if "id" in model else {}
    if "instructions" in want:
        want["instructions"] = want["instructions"].strip()
    for key in ("inputs", "outputs"):
        if expected.get(key):
            want[key] = [each["name"] for each in expected[key]]
    wrong = {key: (made[key], value) for key, value in want.items() if made[key] != value}
    return str(wrong) if wrong else ""


def file_of(given: dict[str, Any], folder: Path) -> Path:
    """The file of a vector: a fixture of the checkout, or one written for it."""
    if "fixture" in given:
        return CHECKOUT / "spec/fixtures" / given["fixture"]
    at = folder / given.get("agent_subdir", "")
    at.mkdir(exist_ok=True)
    for name, value in given.get("files", {}).items():
        (at / name).parent.mkdir(exist_ok=True)
        (at / name).write_text(json.dumps(value))
    text = given.get("frontmatter_raw") or f"---\n{json.dumps(given['frontmatter'])}\n---\nHi\n"
    (at / "test.prompty").write_text(text)
    return at / "test.prompty"


@pytest.mark.parametrize("vector", vectors("render"))
def test_a_vector_of_rendering_holds(vector: dict[str, Any]) -> None:
    given = vector["input"]
    if given["engine"] != "jinja2":
        pytest.skip("Templates in mustache are refused.")
    if "rendered" not in vector["expected"]:
        pytest.skip("It is about another runtime's own placeholders.")
    assert (
        render(given["template"], given["inputs"], keeps_lines=True)
        == vector["expected"]["rendered"]
    )


@pytest.mark.parametrize("vector", vectors("parse"))
def test_a_vector_of_parsing_holds(vector: dict[str, Any]) -> None:
    given = vector["input"]
    if "thread_inputs" in given:
        pytest.skip("It is about another runtime's own placeholders.")
    template = "{% raw %}" + given["rendered"] + "{% endraw %}"
    found = Marked(template, "secret").messages({}, {}, Path())
    assert found == conversation("expected", with_parts(vector["expected"]["messages"]))


def with_parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {("parts" if key == "content" else key): value for key, value in each.items()}
        for each in messages
    ]


@pytest.mark.parametrize("vector", vectors("toRequest"))
def test_a_vector_of_requests_holds(vector: dict[str, Any], tmp_path: Path) -> None:
    given = vector["input"]
    if given["provider"] != "openai" or given["apiType"] in ("image", "responses"):
        pytest.skip(
            "Requests are made as chat completions; the gateway speaks the providers' dialects."
        )
    front = {
        "model": {
            "id": given["model_id"],
            "apiType": given["apiType"],
            "options": given["options"],
        },
        "outputs": given["outputs"],
        "tools": given["tools"],
    }
    prompty = Prompty.load(file_of({"frontmatter": front}, tmp_path))
    messages = conversation("messages", with_parts(given["messages"]))
    field = "input" if given["apiType"] == "embedding" else "messages"
    body = prompty._body((), {}) | {field: text_of(messages) if field == "input" else messages}
    assert body == vector["expected"]["request_body"]


@pytest.mark.parametrize("vector", vectors("process"))
def test_a_vector_of_answers_holds(vector: dict[str, Any], tmp_path: Path) -> None:
    given = vector["input"]
    if given["provider"] != "openai" or given["apiType"] in ("image", "responses"):
        pytest.skip("Answers come as chat completions; the gateway speaks the providers' dialects.")
    front: dict[str, Any] = {"model": {"id": "m", "apiType": given["apiType"]}}
    if given.get("has_outputs"):
        front["outputs"] = dict.fromkeys(("city", "temp"), "")
    file = load(file_of({"frontmatter": front}, tmp_path))
    if vector["name"] in DIFFERENCES:
        with pytest.raises(AnswerFormatError):
            result_of(file, given["response"])
        return
    assert result_of(file, given["response"]) == vector["expected"]["result"]
