"""Flex flows: functions and classes as flows; what they are given, what becomes of what they return."""

from __future__ import annotations

import asyncio
import importlib.util
import textwrap
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.core.errors import FlowError, FlowFormatError, FlowInputError, NodeFailedError
from farthing.flows.flex.flow import FlexFlow
from farthing.flows.jobs import try_line
from farthing.flows.models import GatewayModels
from farthing.flows.serving.swagger import document
from tests.flows.test_prompty import BODY, FRONT, STREAM
from tests.gateway.world import DONE, LOCAL, World, whole, world


@asynccontextmanager
async def opened(source: Any, it: World, **more: Any) -> AsyncIterator[FlexFlow]:
    flow = FlexFlow(source, models=GatewayModels(it.gateway, LOCAL), clock=SystemClock(), **more)
    try:
        yield flow
    finally:
        await flow.aclose()


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, {"a": []}) as made:
        yield made


def project(folder: Path, code: str, yaml: str = "", entry: str = "entry:flow") -> Path:
    (folder / "entry.py").write_text(textwrap.dedent(code))
    (folder / "flow.flex.yaml").write_text(f"entry: {entry}\n{textwrap.dedent(yaml)}")
    return folder


# --- what a line is given ---


async def test_inputs_are_inferred_from_hints_and_defaults(tmp_path: Path, it: World) -> None:
    code = """
        def flow(a: str, b: int, c: float = 1.5, d: bool = True, e: list = None, f: dict = None, g="x"):
            return {"all": [a, b, c, d, e, f, g]}
    """
    async with opened(project(tmp_path, code), it) as flow:
        assert [(i.name, i.kind, i.has_default) for i in flow.flow.inputs] == [
            ("a", "string", False),
            ("b", "int", False),
            ("c", "double", True),
            ("d", "bool", True),
            ("e", "list", True),
            ("f", "object", True),
            ("g", "string", True),
        ]
        line = await flow.run({"a": "1", "b": "2", "d": "false", "f": '{"k": 1}', "extra": 0})
        assert line.outputs == {"all": ["1", 2, 1.5, False, None, {"k": 1}, "x"]}
        line = await flow.run({"c": 1}, number=3)
        assert isinstance(line.error, FlowInputError)
        assert "'a', 'b' of line 3" in str(line.error)


async def test_the_file_says_more_than_the_code(tmp_path: Path, it: World) -> None:
    code = "def flow(a, b='code', c='code'):\n    return [a, b, c]\n"
    yaml = """
        inputs:
          a: {type: int}
          b: {type: string, default: file}
          c: {type: string, default: ""}
    """
    async with opened(project(tmp_path, code, yaml), it) as flow:
        assert (await flow.run({"a": "7"})).outputs == {"output": [7, "file", "code"]}


async def test_the_sample_is_taken_when_nothing_is_given(tmp_path: Path, it: World) -> None:
    (tmp_path / "in.json").write_text('{"x": "from a file"}')
    code = """
        class Flow:
            def __init__(self, y: str):
                self.y = y
            def __call__(self, x: str):
                return self.y + x
    """
    yaml = "sample: {init: {y: 'init '}, inputs: '${file:in.json}'}\n"
    async with opened(project(tmp_path, code, yaml, "entry:Flow"), it) as flow:
        assert (await flow.run({})).outputs == {"output": "init from a file"}
    async with opened(tmp_path, it, init={"y": ""}) as flow:
        assert (await flow.run({"x": "given"})).outputs == {"output": "given"}


async def test_an_empty_default_in_the_file_leaves_the_codes(tmp_path: Path, it: World) -> None:
    code = """
        class Flow:
            def __init__(self, y: str = None):
                self.y = y
            def __call__(self, x: str = None):
                return [self.y, x]
    """
    yaml = """
        inputs: {x: {type: string, default: ""}}
        init: {y: {type: string, default: ""}}
    """
    async with opened(project(tmp_path, code, yaml, "entry:Flow"), it) as flow:
        assert (await flow.run({})).outputs == {"output": [None, None]}


# --- what becomes of what it returns ---


@dataclass(frozen=True)
class Pair:
    left: str
    right: Iterator[str] | str


async def test_dicts_dataclasses_and_plain_values_are_outputs(it: World) -> None:
    def pair(x: str) -> Pair:
        return Pair(x, iter(["a", "b"]))

    async with opened(pair, it) as flow:
        assert [each.name for each in flow.flow.outputs] == ["left", "right"]
        line = await flow.run({"x": "1"})
        assert line.outputs == {"left": "1", "right": "ab"}
        assert line.values == {"pair": Pair("1", "ab")}
        assert not line.is_bare
    async with opened(lambda x: x, it) as flow:
        assert (await flow.run({"x": 1})).is_bare
        assert not (await flow.run({"x": {"output": 1}})).is_bare


async def test_generators_of_each_kind_are_joined_or_stay(it: World) -> None:
    def plain() -> Iterator[int]:
        yield from range(3)

    async def waiting() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    async def giving() -> dict[str, AsyncIterator[int]]:
        return {"a": waiting(), "b": waiting()}

    for function, names in ((plain, ["output"]), (waiting, ["output"]), (giving, ["a", "b"])):
        async with opened(function, it) as flow:
            assert (await flow.run({})).outputs == dict.fromkeys(names, "012")
        async with opened(function, it, is_streaming=True) as flow:
            line = await flow.run({})
            for name in names:
                assert [piece async for piece in line.outputs[name]] == [0, 1, 2]


async def test_a_stream_that_is_left_early_or_never_read_leaves_nothing_open(it: World) -> None:
    closed = []

    async def waiting() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async with opened(waiting, it, is_streaming=True) as flow:
        line = await flow.run({})
        assert await anext(line.outputs["output"]) == 1
        await line.outputs["output"].aclose()
        assert closed == [True]
        await flow.run({})


# --- models ---


async def test_a_prompty_in_a_function_uses_the_account_of_the_flow(
    tmp_path: Path, it: World
) -> None:
    (tmp_path / "test.prompty").write_text(FRONT + BODY)
    code = """
        from pathlib import Path
        from farthing.flows.prompty.prompty import Prompty
        def flow(question: str):
            return Prompty.load(Path(__file__).parent / "test.prompty")(question=question)
    """
    it.provider.scripts["a"] = [[whole("Four")]]
    async with opened(project(tmp_path, code), it) as flow:
        assert (await flow.run({"question": "2+2?"})).outputs == {"output": "Four"}
        assert flow.spent.calls == 1
    assert it.records[0].nanodollars == flow.spent.nanodollars


async def test_asynchronous_code_may_call_a_prompty_without_await(
    tmp_path: Path, it: World
) -> None:
    (tmp_path / "test.prompty").write_text(FRONT.replace("temperature: 0.2", "stream: true") + BODY)
    code = """
        from pathlib import Path
        from farthing.flows.prompty.prompty import Prompty
        class Flow:
            async def __call__(self, question: str):
                for piece in Prompty.load(Path(__file__).parent / "test.prompty")(question=question):
                    yield piece
    """
    it.provider.scripts["a"] = [[*STREAM, DONE], [*STREAM, DONE]]
    async with opened(project(tmp_path, code, entry="entry:Flow"), it) as flow:
        assert (await flow.run({"question": "?"})).outputs == {"output": "Hello"}
    async with opened(tmp_path, it, is_streaming=True) as flow:
        line = await flow.run({"question": "?"})
        assert [piece async for piece in line.outputs["output"]] == ["Hel", "lo"]


async def test_a_time_out_reaches_the_call_that_a_thread_waits_for(
    tmp_path: Path, it: World
) -> None:
    (tmp_path / "test.prompty").write_text(FRONT + BODY)
    code = """
        from pathlib import Path
        from farthing.flows.prompty.prompty import Prompty
        def flow(question: str):
            return Prompty.load(Path(__file__).parent / "test.prompty")(question=question)
    """
    it.provider.scripts["a"] = [["hang"]]
    async with opened(project(tmp_path, code), it, line_timeout_s=0.1) as flow:
        line = await flow.run({"question": "?"})
        assert "longer than 0.1 s" in str(line.error)
        for _ in range(100):
            if not it.gateway.in_flight:
                break
            await asyncio.sleep(0.01)
        assert it.gateway.in_flight == 0


async def test_a_time_out_cancels_what_is_awaited(it: World) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            loop.call_soon_threadsafe(ended.set)

    async with opened(forever, it, line_timeout_s=0.1) as flow:
        assert "longer than 0.1 s" in str((await flow.run({})).error)
        await asyncio.wait_for(ended.wait(), 5)


# --- what fails ---


@pytest.mark.parametrize("error", ["ValueError('a secret')", "StopIteration", "SystemExit(3)"])
async def test_what_a_line_raises_is_its_result_without_its_text(
    tmp_path: Path, it: World, error: str
) -> None:
    async with opened(project(tmp_path, f"def flow():\n    raise {error}\n"), it) as flow:
        line = await flow.run({})
        assert isinstance(line.error, FlowError)
        assert "secret" not in str(line.error)
        assert line.traces[0].status == "failed"


@pytest.mark.parametrize(
    ("yaml", "message", "line"),
    [
        ("entry: entry\n", "has the entry 'entry'", 1),
        ("entry: entry:a:b\n", "has the entry", 1),
        ("entry: entri:flow\n", "Did you mean 'entry'", 1),
        ("entry: entry:flo\n", "Did you mean 'flow'", 1),
        ("entry: entry:Mute\n", "has no __call__", 1),
        ("entry: entry:flow\nnodes: []\n", "flow.dag.yaml", 2),
        ("entry: entry:flow\npath: ./x.py\n", "into entry", 2),
        ("language: csharp\nentry: (A)B\n", "csharp", 1),
        ("entry: entry:flow\ninputs:\n  a: {type: int, default: x}\n", "no int", 3),
        ("inputs: {}\n", "no entry", 1),
        ("entry: entry:flow\nsample: ${file:none.json}\n", "none.json", None),
        ("entry: entry:Wide\n", "takes 2 parameters", 1),
    ],
)
async def test_what_is_wrong_in_the_file_is_told_with_its_line(
    tmp_path: Path, it: World, yaml: str, message: str, line: int | None
) -> None:
    project(
        tmp_path,
        """
        def flow(a=1): pass
        class Mute: pass
        class Wide:
            def __call__(self): pass
            def __aggregate__(self, a, b): pass
        """,
    )
    (tmp_path / "flow.flex.yaml").write_text(yaml)
    with pytest.raises(FlowFormatError, match=message) as caught:
        async with opened(tmp_path, it):
            pass
    if line is not None and "no entry" not in message:
        assert caught.value.line == line


# --- classes ---


class Connection:
    def __init__(self, name: str) -> None:
        self.name = name


class MyConnection(Connection):
    api_base = "https://example.org"


@dataclass
class AzureOpenAIModelConfiguration:
    """A stand-in for prompt flow's, which is known by its name and its fields."""

    azure_deployment: str
    azure_endpoint: str | None = None
    connection: str | None = None

    @classmethod
    def from_connection(
        cls, connection: Any, azure_deployment: str
    ) -> AzureOpenAIModelConfiguration:
        return cls(azure_deployment, azure_endpoint=connection.api_base)


class Connections:
    def get(self, name: str) -> Any:
        if name == "missing":
            raise FlowError("There is no such connection.")
        return MyConnection(name) if name == "mine" else Connection(name)


class Made:
    def __init__(
        self,
        count: int,
        my: MyConnection | None = None,
        config: AzureOpenAIModelConfiguration | None = None,
        limit=1,  # type: ignore[no-untyped-def]  # as users write it
    ) -> None:
        self.count, self.my, self.config, self.limit = count, my, config, limit

    def __call__(self, x: int) -> int:
        return self.count + x

    def __aggregate__(self, results: list[int]) -> dict[str, float]:
        return {"sum": sum(results)}


async def test_init_values_are_typed_and_names_become_connections(it: World) -> None:
    init = {
        "count": "3",
        "my": "mine",
        "limit": "9",
        "config": {"azure_deployment": "m", "connection": "mine"},
    }
    async with opened(Made, it, init=init, connections=Connections()) as flow:
        made = flow._entry
        assert isinstance(made, Made)
        assert (made.count, made.limit) == (3, 9)
        assert isinstance(made.my, MyConnection)
        assert made.config is not None
        assert (made.config.azure_endpoint, made.config.connection) == ("https://example.org", None)
    init["config"] = '{"azure_deployment": "m", "connection": "missing"}'
    async with opened(Made, it, init=init, connections=Connections()) as flow:
        assert isinstance(flow._entry, Made)
        assert flow._entry.config is not None
        assert flow._entry.config.connection == "missing"


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({}, "needs the init value 'count'"),
        ({"count": 1, "cuont": 2}, "Did you mean 'count'"),
        ({"count": "x"}, "is no int|no int"),
        ({"count": 1, "my": "other"}, "is a Connection; 'my' needs a MyConnection"),
        ({"count": 1, "config": {"deployment": "m"}}, "AzureOpenAIModelConfiguration"),
    ],
)
async def test_wrong_init_values_are_told(it: World, init: Mapping[str, Any], message: str) -> None:
    with pytest.raises(FlowInputError, match=message):
        async with opened(Made, it, init=init, connections=Connections()):
            pass


async def test_aggregation_gets_what_the_good_lines_returned(it: World) -> None:
    async with opened(Made, it, init={"count": 1}) as flow:
        lines = [await flow.run({"x": x}) for x in (1, "no number", 2)]
        assert [line.error is None for line in lines] == [True, False, True]
        lines[0].values = {}  # as a store gives it back
        assert flow._returned(lines[0]) == 2


@pytest.mark.skipif(
    importlib.util.find_spec("farthing.flows.batch.metrics") is None,
    reason="flows/batch/metrics.py is not here",
)
async def test_what_an_aggregation_returns_are_the_metrics(it: World) -> None:
    metrics = importlib.import_module("farthing.flows.batch.metrics")
    async with opened(Made, it, init={"count": 1}) as flow:
        lines = [await flow.run({"x": x}) for x in (1, "no number", 2)]
        with metrics.collecting() as found:
            result = await flow.aggregate(lines)
    assert found == result.metrics == {"sum": 5}
    assert result.values == {"__aggregate__": {"sum": 5}}


async def test_a_single_line_is_not_aggregated(it: World) -> None:
    async with opened(Made, it, init={"count": 1}) as flow:
        tried = await try_line(flow, {"x": 1})
    assert tried.line.error is None
    assert tried.behind.metrics == {}


async def test_an_output_that_only_a_plain_value_has_is_assumed(tmp_path: Path, it: World) -> None:
    async with opened(project(tmp_path, "def flow(a: str) -> str:\n    return a\n"), it) as flow:
        assert [(each.name, each.is_assumed) for each in flow.flow.outputs] == [("output", True)]
        told = document(flow.flow)["paths"]["/score"]["post"]["responses"]["200"]["content"]
    assert told["application/json"]["schema"] == {"type": "object"}


async def test_what_goes_wrong_in_an_aggregation_is_a_warning(it: World) -> None:
    class Failing(Made):
        def __aggregate__(self, results: list[int]) -> dict[str, float]:
            raise ValueError("a secret")

    class Silent(Made):
        async def __aggregate__(self, results: list[int]) -> Any:  # type: ignore[override]
            return None

    for kind, told in ((Failing, "ValueError"), (Silent, "NoneType")):
        async with opened(kind, it, init={"count": 1}) as flow:
            result = await flow.aggregate([])
            assert result.error is None
            assert told in result.warnings[0]
            assert "secret" not in result.warnings[0]


async def test_a_class_in_a_file_is_made_of_its_sample_and_aggregates_asynchronously(
    tmp_path: Path, it: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_FLEX_ENDPOINT", "https://e.example")
    code = """
        import asyncio
        from promptflow.core import AzureOpenAIModelConfiguration

        class Flow:
            def __init__(self, config: AzureOpenAIModelConfiguration, mark: str):
                self.config, self.mark = config, mark

            async def __call__(self, text: str) -> str:
                return f"{text}{self.mark} {self.config.azure_deployment} {self.config.azure_endpoint}"

            async def __aggregate__(self, results: list) -> dict:
                await asyncio.sleep(0)
                return {"lines": len(results)}
    """
    (tmp_path / "inputs.json").write_text('{"text": "Hi"}')
    yaml = """
        sample:
          init:
            mark: "!"
            config: {azure_deployment: m, api_key: k, azure_endpoint: "${env:TEST_FLEX_ENDPOINT}"}
          inputs: ${file:inputs.json}
    """
    async with opened(project(tmp_path, code, yaml, "entry:Flow"), it) as flow:
        line = await flow.run({})
        assert line.outputs == {"output": "Hi! m https://e.example"}
        assert (await flow.aggregate([line])).metrics == {"lines": 1}


async def test_an_object_is_a_flow_and_init_values_need_a_class(it: World) -> None:
    async with opened(Made(5), it) as flow:
        assert (await flow.run({"x": 1})).outputs == {"output": 6}
    with pytest.raises(FlowFormatError, match="no class"):
        async with opened(Made(5), it, init={"count": 1}):
            pass


async def test_a_class_that_fails_is_told_without_its_text(it: World) -> None:
    class Failing:
        def __init__(self) -> None:
            raise ValueError("a secret")

        def __call__(self) -> None: ...

    with pytest.raises(FlowError, match="failed with ValueError") as caught:
        async with opened(Failing, it):
            pass
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value, NodeFailedError)


async def test_functions_import_beside_the_flow_and_from_its_includes_while_they_run(
    tmp_path: Path, it: World
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "included_words.py").write_text("WORD = 'included'\n")
    folder = tmp_path / "flow"
    folder.mkdir()
    (folder / "beside_words.py").write_text("WORD = 'beside'\n")
    code = """
        def flow():
            from beside_words import WORD as a
            from included_words import WORD as b
            return a + " " + b
    """
    yaml = "additional_includes: [../shared/included_words.py]\n"
    async with opened(project(folder, code, yaml), it) as flow:
        assert (await flow.run({})).outputs == {"output": "beside included"}
