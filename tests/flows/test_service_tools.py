"""Package tools that ask services: their errors, their retries, what they do with answers that cannot be read."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from farthing.base.clock import Clock, SystemClock
from farthing.core.errors import FarthingError, FlowError
from farthing.flows import shim
from farthing.flows.connections.connections import (
    AzureContentSafetyConnection,
    AzureOpenAIConnection,
    Connections,
    CustomConnection,
    SerpConnection,
    ServerlessConnection,
)
from farthing.flows.engine import ambient
from farthing.flows.models import Spent
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
        with pytest.raises(
            OpenModelLLMOnlineEndpointError, match="key of the connection 'llama'"
        ) as e:
            await asked(model(server.url))
        assert (len(server.asked), clock.waits) == (1, [])
        assert "--name llama --set secrets.endpoint_api_key=" in str(e.value)


async def test_an_endpoint_that_cannot_be_reached_is_told_at_once() -> None:
    clock = WaitingClock()
    async with answering(("200 OK", b"{}")) as server:
        pass
    with (
        ambient.line(NoModels(), Spent(), clock),
        pytest.raises(OpenModelLLMOnlineEndpointError, match="could not be reached"),
    ):
        await asked(model(server.url))
    assert clock.waits == []


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
