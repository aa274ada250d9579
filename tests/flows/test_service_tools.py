"""Package tools in flows: found without any package, their errors, their retries, and what a check says of them."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import Clock, SystemClock
from farthing.core.errors import FarthingError, FlowError, FlowFormatError
from farthing.flows import shim
from farthing.flows.check.check import check
from farthing.flows.check.findings import Finding, Known
from farthing.flows.code import packages
from farthing.flows.code.packages import listed_tools, package_tool
from farthing.flows.connections.connections import (
    AzureContentSafetyConnection,
    AzureOpenAIConnection,
    Connection,
    Connections,
    CustomConnection,
    SerpConnection,
    ServerlessConnection,
)
from farthing.flows.engine import ambient
from farthing.flows.models import Spent
from farthing.flows.open import open_flow
from farthing.flows.tools import content_safety, serpapi
from farthing.flows.tools.errors import (
    AzureContentSafetySystemError,
    InvalidConnectionType,
    OpenModelLLMOnlineEndpointError,
    OpenModelLLMUserError,
    RerankError,
    SerpAPISystemError,
    SerpAPIUserError,
    ToolError,
    ToolValidationError,
)
from farthing.flows.tools.open_model import OpenModelLLM
from farthing.flows.tools.packaged import packaged_tools
from farthing.flows.tools.rerank import Rerank, bm25
from farthing.testing.server import Peer, Scripted, serving
from tests.flows.test_package_tools import NoModels, WaitingClock

KEY = "a-very-secret-key"
QUERY = "a private question"


@asynccontextmanager
async def answering(
    *answers: tuple[str, bytes], more: str = "", clock: Clock | None = None
) -> AsyncIterator[Scripted]:
    """A line under way, and a server that gives these answers in turn, the last one again and again."""
    left = list(answers)

    async def script(peer: Peer) -> None:
        status, body = left.pop(0) if len(left) > 1 else left[0]
        await peer.answer(body, status=status, more=more)

    async with serving(script) as server:
        with ambient.line(NoModels(), Spent(), clock or WaitingClock()):
            yield server


async def called(function: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """As the function of a node is called: in a thread."""
    return await asyncio.to_thread(function, *values, **named)


def search(server: Scripted) -> Callable[..., Any]:
    return serpapi.SerpAPI(SerpConnection(KEY, server.url, name="serp")).search


def judge(server: Scripted) -> Callable[..., Any]:
    connection = AzureContentSafetyConnection(KEY, server.url, name="safety")
    return content_safety.AzureContentSafety(connection).analyze_text


# --- errors ---


@pytest.mark.parametrize(
    ("status", "kind", "says", "is_retryable"),
    [
        ("401 Unauthorized", SerpAPIUserError, "rejected the key of the connection 'serp' (401)", False),
        ("400 Bad Request", SerpAPIUserError, "refused the request (400)", False),
        ("429 Too Many Requests", SerpAPIUserError, "limit of the connection 'serp'", True),
        ("503 Service Unavailable", SerpAPISystemError, "failed (503)", True),
        ("302 Found", SerpAPISystemError, "redirects are not followed", False),
    ],
)  # fmt: skip
async def test_a_refusal_says_whose_fault_it_is_and_shows_neither_key_nor_question(
    status: str, kind: type[ToolError], says: str, is_retryable: bool
) -> None:
    quoting = json.dumps({"error": f"{KEY} {QUERY}"}).encode()
    async with answering((status, quoting), more="Retry-After: 7\r\n") as server:
        with pytest.raises(kind, match=says.replace("(", r"\(").replace(")", r"\)")) as caught:
            await called(search(server), QUERY)
    assert len(server.asked) == 1
    error = caught.value
    assert (error.retryable, error.upstream_status) == (is_retryable, int(status[:3]))
    assert error.retry_after_s == 7.0
    assert error.hint
    chain = [error, error.__cause__, error.__context__]
    assert not any(word in f"{each!r}{each}" for each in chain for word in (KEY, QUERY))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "it is no JSON"),
        (b"[]", "it is no object"),
        (b"{}", "it has no severity for Hate"),
        (b'{"categoriesAnalysis": [{"category": "Hate", "severity": "2"}]}', "no severity for Hate"),
        (b'{"categoriesAnalysis": 3}', "no severity for Hate"),
    ],
)  # fmt: skip
async def test_an_answer_that_cannot_be_read_says_what_is_missing(body: bytes, says: str) -> None:
    async with answering(("200 OK", body)) as server:
        with pytest.raises(AzureContentSafetySystemError, match=says):
            await called(judge(server), "text")


async def test_azures_word_for_an_error_is_shown_and_its_sentence_is_not() -> None:
    told = {"error": {"code": "InvalidRequestBody", "message": QUERY}}
    async with answering(("400 Bad Request", json.dumps(told).encode())) as server:
        with pytest.raises(AzureContentSafetySystemError, match="400 InvalidRequestBody") as caught:
            await called(judge(server), QUERY)
    assert QUERY not in str(caught.value)


async def test_a_service_that_cannot_be_reached_or_breaks_off_is_told_by_its_host() -> None:
    async with answering(("200 OK", b"{}")) as server:
        pass
    with (
        ambient.line(NoModels(), Spent(), SystemClock()),
        pytest.raises(
            SerpAPISystemError, match=rf"127\.0\.0\.1:{server.port}\) could not be reach"
        ),
    ):
        await called(search(server), QUERY)

    async def broken(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        peer.reset()

    async with serving(broken) as server:
        with (
            ambient.line(NoModels(), Spent(), SystemClock()),
            pytest.raises(SerpAPISystemError, match="broke off its answer"),
        ):
            await called(search(server), QUERY)


async def test_a_connection_without_key_or_of_another_type_is_told_before_anything_is_sent() -> (
    None
):
    async with answering(("200 OK", b"{}")) as server:
        keyless = SerpConnection("", server.url, name="serp")
        with pytest.raises(ToolValidationError, match="'serp' has no api_key"):
            await called(serpapi.search, keyless, QUERY)
        other = AzureOpenAIConnection(server.url, KEY, name="other")
        with pytest.raises(InvalidConnectionType, match=r"SerpConnection.*AzureOpenAIConnection"):
            await called(serpapi.search, other, QUERY)
        with pytest.raises(InvalidConnectionType, match="AzureContentSafetyConnection"):
            await called(content_safety.analyze_text, other, QUERY)
        assert server.asked == []


async def test_a_key_goes_over_tls_or_stays_on_this_machine() -> None:
    connection = SerpConnection(KEY, "http://proxy.example", name="serp")
    with pytest.raises(ToolValidationError, match="a key must not go there in the clear") as caught:
        await called(serpapi.search, connection, QUERY)
    assert KEY not in str(caught.value)


async def test_an_address_that_is_none_is_told_without_the_key() -> None:
    connection = AzureContentSafetyConnection(KEY, "somewhere", name="safety")
    with (
        ambient.line(NoModels(), Spent(), SystemClock()),
        pytest.raises(
            AzureContentSafetySystemError, match="no usable address: 'somewhere/cont"
        ) as e,
    ):
        await called(content_safety.analyze_text, connection, QUERY)
    assert KEY not in str(e.value)


def test_the_errors_of_tools_are_prompt_flows_and_ours() -> None:
    with shim.active():
        theirs = importlib.import_module("promptflow.exceptions")
        module = importlib.import_module("promptflow.tools.exception")
    for name in module.__all__:
        kind = getattr(module, name)
        assert issubclass(kind, FarthingError)
        if name in ("SerpAPIUserError", "OpenModelLLMUserError", "ToolValidationError"):
            error = kind(message="no", target=theirs.ErrorTarget.TOOL)
            assert isinstance(error, theirs.UserErrorException)
            assert (error.message, str(error), error.target) == ("no", "no", "Tool")
    assert issubclass(module.SerpAPISystemError, theirs.SystemErrorException)


# --- retries, and lines that are given up ---


def model(url: str, **configs: str) -> OpenModelLLM:
    told = {"endpoint_url": url, "model_family": "LLAMA", **configs}
    connection = CustomConnection({"endpoint_api_key": KEY}, told, name="llama")
    made = OpenModelLLM()
    made.connections = Connections(given={"llama": connection}, environ={})
    return made


async def asked(made: OpenModelLLM, endpoint: str = "localConnection/llama", **values: Any) -> Any:
    return await called(made.call, "user:\nHi", api="chat", endpoint_name=endpoint, **values)


async def test_an_open_model_that_is_busy_is_asked_again_and_longer_when_it_says_so() -> None:
    clock = WaitingClock()
    busy, fine = ("503 Service Unavailable", b"no"), ("200 OK", b'{"output": "yes"}')
    async with answering(busy, busy, fine, more="Retry-After: 10\r\n", clock=clock) as server:
        assert await asked(model(server.url)) == "yes"
        assert len(server.asked) == 3
    assert clock.waits == [10.0, 18.0]


async def test_an_open_model_that_refuses_is_not_asked_again() -> None:
    clock = WaitingClock()
    async with answering(("401 Unauthorized", b"no"), clock=clock) as server:
        with pytest.raises(OpenModelLLMOnlineEndpointError, match="key of the connection 'llama'"):
            await asked(model(server.url))
        assert (len(server.asked), clock.waits) == (1, [])


async def test_a_line_that_is_given_up_hangs_up() -> None:
    arrived = asyncio.Event()
    hung_up = asyncio.Event()

    async def silent(peer: Peer) -> None:
        arrived.set()
        if await peer.hung_up():
            hung_up.set()

    async with serving(silent) as server:

        async def one_line() -> None:
            with ambient.line(NoModels(), Spent(), SystemClock()):
                await called(search(server), QUERY)

        task = asyncio.create_task(one_line())
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await hung_up.wait()


@pytest.mark.parametrize("endpoint", ["onlineEndpoint/x", "serverlessEndpoint/x", "connection/x"])
async def test_an_endpoint_of_a_workspace_says_which_connection_to_make(endpoint: str) -> None:
    with pytest.raises(OpenModelLLMUserError, match="localConnection/NAME"):
        await asked(model("https://no.example"), endpoint)


async def test_an_endpoint_by_no_known_kind_and_a_nearly_right_key_are_told() -> None:
    with pytest.raises(OpenModelLLMUserError, match="'llama' names no endpoint"):
        await asked(model("https://no.example"), "llama")
    made = OpenModelLLM()
    near = CustomConnection({"endpoint_apikey": KEY}, {"endpoint_url": "u", "model_family": "GPT2"})
    made.connections = Connections(given={"llama": near}, environ={})
    with pytest.raises(FlowError, match=r"no endpoint_api_key.*mean 'endpoint_apikey'"):
        await asked(made)
    with pytest.raises(FlowError, match=r"There is no connection 'lama'.*Did you mean 'llama'"):
        await asked(made, "localConnection/lama")


async def test_an_endpoint_may_be_described_by_the_inputs() -> None:
    async with answering(("200 OK", b'[{"0": "yes"}]')) as server:
        told = {"endpoint_url": server.url, "endpoint_api_key": KEY, "model_family": "GPT-2"}
        assert await asked(OpenModelLLM(), "", **told) == "yes"
        del told["model_family"]
        with pytest.raises(FlowError, match="leave out model_family"):
            await asked(OpenModelLLM(), "", **told)


# --- rerank ---


def test_ranking_leaves_the_results_that_it_was_given_as_they_are() -> None:
    given = [{"text": "a b"}, {"text": "b c"}, {"text": "d"}]
    ranked = Rerank().rerank({"ranker_type": "BM25"}, "d", given, 2)
    assert ranked[0]["text"] == "d"
    assert given == [{"text": "a b"}, {"text": "b c"}, {"text": "d"}]
    assert Rerank().rerank('{"ranker_type": "BM25"}', "d", given, 0) == []
    assert Rerank().rerank('{"ranker_type": "BM25"}', "d", []) == []


def test_a_word_that_is_in_no_document_counts_for_nothing() -> None:
    assert bm25([["a"], ["b"]], ["z"]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("parameters", "results", "says"),
    [
        ('{"ranker_type": "BM52"}', [{"text": "a"}], "Did you mean 'BM25'"),
        ("BM25", [{"text": "a"}], "no JSON object"),
        ("[]", [{"text": "a"}], "no JSON object"),
        ('{"ranker_type": "BM25"}', {"text": "a"}, "dict that holds no results"),
        ('{"ranker_type": "BM25"}', [{"text": "a"}, "b"], "holds no results"),
        ('{"ranker_type": "BM25"}', [{"score": 1}], "has no text"),
        ('{"ranker_type": "Scaled Score Fusion"}', [{"text": "a", "score": 0}], "one of 0"),
        ('{"ranker_type": "Serverless Deployment"}', [{"text": "a"}], "no connection_id"),
    ],
)
def test_a_ranking_that_cannot_be_says_why(parameters: str, results: Any, says: str) -> None:
    with pytest.raises(RerankError, match=says):
        Rerank().rerank(parameters, "q", results)


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"results": [{"index": 1}]}', b'{"results": [3]}']
)
async def test_a_ranking_of_what_was_not_sent_is_refused(body: bytes) -> None:
    async with answering(("200 OK", body)) as server:
        ranker = Rerank()
        given = {"r": ServerlessConnection(KEY, server.url, name="r")}
        ranker.connections = Connections(given=given, environ={})
        told = {"ranker_type": "Serverless Deployment", "connection_id": "r"}
        with pytest.raises(RerankError, match="cannot be read"):
            await called(ranker.rerank, told, "q", [{"text": "a"}])


# --- in flows ---

FLOW = """
inputs: {{question: {{type: string}}}}
outputs: {{found: {{type: object, reference: '${{node.output}}'}}}}
nodes:
- name: node
  type: {kind}
  source: {{type: {source}, tool: {tool}{path}}}
  inputs: {inputs}
"""


def flow(folder: Path, tool: str, inputs: str, *, kind: str = "python", template: str = "") -> Path:
    source, path = ("package_with_prompt", ", path: p.jinja2") if template else ("package", "")
    (folder / "p.jinja2").write_text(template)
    text = FLOW.format(kind=kind, source=source, tool=tool, path=path, inputs=inputs)
    (folder / "flow.dag.yaml").write_text(text)
    return folder


async def run(folder: Path, given: dict[str, Connection], question: str = "why?") -> Any:
    opened = open_flow(
        folder,
        models=NoModels(),
        connections=Connections(given=given, environ={}),
        clock=WaitingClock(),
    )
    async with aclosing(opened):
        line = await opened.run({"question": question})
    if line.error is not None:
        raise line.error
    return line.outputs["found"]


async def test_a_flow_searches_and_judges_without_any_package(tmp_path: Path) -> None:
    async with answering(("200 OK", b'{"organic_results": []}')) as server:
        given: dict[str, Connection] = {"serp": SerpConnection(KEY, server.url)}
        tool = "promptflow.tools.serpapi.SerpAPI.search"
        inputs = "{connection: serp, query: '${inputs.question}', num: '3', engine: google, location: ''}"
        assert await run(flow(tmp_path, tool, inputs), given) == {"organic_results": []}
        assert "num=3" in server.asked[0].line
        assert "location" not in server.asked[0].line
    verdict = json.dumps(
        {"categoriesAnalysis": [{"category": c, "severity": 4} for c in content_safety._CATEGORIES]}
    ).encode()
    async with answering(("200 OK", verdict)) as server:
        given = {"safety": AzureContentSafetyConnection(KEY, server.url)}
        inputs = "{connection: safety, text: '${inputs.question}', hate_category: low_sensitivity}"
        for tool in (
            "promptflow.tools.azure_content_safety.analyze_text",
            "content_safety_text.tools.content_safety_text_tool.analyze_text",
        ):
            found = await run(flow(tmp_path, tool, inputs), given)
            assert found["action_by_category"]["Hate"] == "Accept"
            assert found["suggested_action"] == "Reject"


async def test_a_flow_asks_an_open_model_by_the_connections_of_its_project(tmp_path: Path) -> None:
    async with answering(("200 OK", b'{"output": "because"}')) as server:
        told = {"endpoint_url": server.url, "model_family": "LLAMA"}
        given: dict[str, Connection] = {"llama": CustomConnection({"endpoint_api_key": KEY}, told)}
        inputs = (
            "{endpoint_name: localConnection/llama, api: chat, max_new_tokens: '7', "
            "model_kwargs: '{\"a\": 1}', deployment_name: '', question: '${inputs.question}'}"
        )
        tool = "promptflow.tools.open_model_llm.OpenModelLLM.call"
        project = flow(tmp_path, tool, inputs, kind="custom_llm", template="user:\n{{question}}\n")
        assert await run(project, given) == "because"
        body = json.loads(server.asked[0].body)["input_data"]
    assert body["input_string"] == [{"role": "user", "content": "why?"}]
    expected = {"a": 1, "top_p": 1.0, "temperature": 1.0, "max_new_tokens": 7, "do_sample": True}
    assert body["parameters"] == expected


async def test_the_error_of_a_tool_is_the_lines_with_the_nodes_name(tmp_path: Path) -> None:
    async with answering(("401 Unauthorized", b"{}")) as server:
        given: dict[str, Connection] = {"serp": SerpConnection(KEY, server.url, name="serp")}
        inputs = "{connection: serp, query: '${inputs.question}'}"
        with pytest.raises(SerpAPIUserError, match="rejected the key") as caught:
            await run(flow(tmp_path, "promptflow.tools.serpapi.SerpAPI.search", inputs), given)
    assert caught.value.node == "node"


async def test_a_lookup_says_what_to_do_until_there_is_retrieval(tmp_path: Path) -> None:
    tool = "promptflow_vectordb.tool.vector_db_lookup.VectorDBLookup.search"
    with pytest.raises(FlowFormatError, match=r"no retrieval here yet.*promptflow-vectordb"):
        await run(flow(tmp_path, tool, "{top_k: 3}"), {})


@pytest.mark.parametrize("name", packaged_tools())
def test_each_tool_that_is_listed_can_be_loaded_and_takes_what_it_says(name: str) -> None:
    from farthing.flows.code.parameters import signature_of

    tool = package_tool(name)
    assert name in listed_tools()
    taken = signature_of(tool.function, tool.inputs).parameters
    if tool.provider is not None:
        taken = {**taken, **signature_of(tool.provider).parameters}
    hidden = {key for key, told in tool.inputs.items() if told.get("input_type")}
    assert set(tool.inputs) - hidden <= set(taken)


def test_a_promptflow_tools_that_is_really_installed_lists_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "promptflow_tools-1.6.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: promptflow-tools\nVersion: 1.6.1\n"
    )
    entry = "[package_tools]\ntools = promptflow.tools.list:list_package_tools\n"
    (info / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(tmp_path))
    packages.listed_tools.cache_clear()
    try:
        assert packages.listed_tools() == packaged_tools()
    finally:
        packages.listed_tools.cache_clear()


def test_a_package_whose_listing_fails_takes_no_tool_of_ours_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken_tools_for_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: broken-tools-for-test\nVersion: 1\n"
    )
    (info / "entry_points.txt").write_text("[package_tools]\ntools = no_such_module:tools\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    packages.listed_tools.cache_clear()
    try:
        assert package_tool(SEARCH).provider is serpapi.SerpAPI
        with pytest.raises(FlowError, match="no_such_module"):
            package_tool("another.tool")
    finally:
        packages.listed_tools.cache_clear()


def test_the_names_of_the_tools_modules_can_be_imported() -> None:
    with shim.active():
        exec("from promptflow.tools.serpapi import Engine, SafeMode, SerpAPI, search")
        exec("from promptflow.tools import AzureOpenAI, OpenAI, SerpAPI")
        exec("from promptflow.tools.azure_content_safety import analyze_text")
        exec("from promptflow.tools.azure_content_safety import AzureContentSafety")
        exec("from promptflow.tools.azure_content_safety import TextCategorySensitivity")
        exec("from promptflow.tools.open_model_llm import API, ModelFamily, OpenModelLLM")
        exec("from promptflow.tools.embedding import EmbeddingModel, embedding")
        exec("from promptflow.tools.llm import llm")
        exec("from promptflow.tools.llm_vision import llm_vision")
        with pytest.raises(ImportError, match=r"no 'Engin'.*'Engine'"):
            exec("from promptflow.tools.serpapi import Engin")


# --- a check ---


def findings(folder: Path, tool: str, inputs: str, **more: str) -> Iterator[Finding]:
    file = flow(folder, tool, inputs, **more) / "flow.dag.yaml"
    known = Known(connections=("serp", "safety"), why_no_model=lambda _: None)
    return iter(check(file, known).findings)


SEARCH = "promptflow.tools.serpapi.SerpAPI.search"


@pytest.mark.parametrize(
    ("tool", "inputs", "kind", "says"),
    [
        (SEARCH, "{connection: serp, querry: x}", "broken",
         "'querry', which its tool does not take. Did you mean 'query'"),
        (SEARCH, "{connection: serp}", "broken", "leaves out query"),
        (SEARCH, "{connection: serf, query: x}", "connection",
         "needs the connection 'serf' (SerpConnection). Did you mean 'serp'"),
        (SEARCH, "{connection: serp, query: x, safe: of}", "broken",
         "'of', which there is not. Did you mean 'off'"),
        (SEARCH, "{connection: serp, query: x, engine: gogle}", "note",
         "may not know. Did you mean 'google'"),
        ("promptflow.tools.serpapi.SerpAPI.serch", "{}", "broken", f"there is not. Did you mean '{SEARCH}'"),
        ("promptflow.qq", "{}", "broken", "farthing pf tool list"),
        ("promptflow_vectordb.tool.common_index_lookup.search", "{}", "adaptation",
         "no retrieval here yet. Install"),
        ("promptflow_vectordb.tool.rerank.rerank", "{query: x}", "broken",
         "leaves out ranker_parameters, result_groups"),
        ("no_such_package.tool", "{}", "package", "pip install no-such-package"),
    ],
)  # fmt: skip
def test_a_check_says_what_is_wrong_with_a_package_node(
    tmp_path: Path, tool: str, inputs: str, kind: str, says: str
) -> None:
    found = next(findings(tmp_path, tool, inputs))
    assert found.kind == kind
    assert says in f"{found.message} {found.hint}"
    assert found.line is not None


@pytest.mark.parametrize(
    ("tool", "inputs", "more"),
    [
        (SEARCH, "{connection: serp, query: '${inputs.question}', engine: bing, num: 3}", {}),
        ("content_safety_text.tools.content_safety_text_tool.analyze_text", "{connection: safety, text: x}", {}),
        ("promptflow.tools.open_model_llm.OpenModelLLM.call", "{endpoint_name: localConnection/x, api: chat, thing: 3}",
         {"kind": "custom_llm", "template": "{{thing}}"}),
    ],
)  # fmt: skip
def test_a_check_finds_nothing_wrong_with_a_node_that_runs(
    tmp_path: Path, tool: str, inputs: str, more: dict[str, str]
) -> None:
    assert list(findings(tmp_path, tool, inputs, **more)) == []
