"""A served flow without HTTP: what an answer holds, and what becomes of generators that nobody reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from farthing.core.errors import FlowError, FlowFormatError, FlowInputError, NodeFailedError
from farthing.flows.engine.pieces import pieces, stream_threads
from farthing.flows.engine.plan import LineResult
from farthing.flows.graph import Flow, Input, Output
from farthing.flows.models import Spent
from farthing.flows.serving.inputs import refuse_files
from farthing.flows.serving.served import INCLUDED_FIELDS, ServedFlow, TwoStreamsError


class Giving:
    """A flow that gives what it is told, through the outputs of those names."""

    def __init__(self, folder: Path = Path(), *, is_bare: bool = False, **outputs: Any) -> None:
        self.flow = Flow(
            name="f",
            folder=folder,
            outputs=tuple(Output(name=name, reference=None) for name in outputs),
        )
        self.spent = Spent()
        self.result = LineResult(inputs={}, outputs=outputs, is_bare=is_bare)

    async def run(self, inputs: Mapping[str, Any], *, number: int | None = None) -> LineResult:
        return self.result

    async def aggregate(self, lines: Sequence[LineResult]) -> LineResult:
        return LineResult(inputs={})

    async def aclose(self) -> None:
        pass


class Picture(bytes):
    def to_base64(self, with_type: bool = False) -> str:
        return "data:image/png;base64,AAAA" if with_type else "AAAA"


class Text(str):
    """A text with more to it, as a prompt node gives."""


def counted(closed: list[str], name: str) -> Callable[[], Iterator[str]]:
    def give() -> Iterator[str]:
        try:
            yield name
        finally:
            closed.append(name)

    return give


async def whole(flow: Giving, environ: Mapping[str, str] = {}) -> Any:
    served = ServedFlow(flow, environ)
    try:
        return await (await served.score({})).whole()
    finally:
        await served.aclose()


async def test_a_flow_that_returns_no_dict_is_answered_with_its_value() -> None:
    assert await whole(Giving(output="x", is_bare=True)) == "x"
    assert await whole(Giving(output=iter(["x", "y"]), is_bare=True)) == "xy"
    assert await whole(Giving(output="x")) == {"output": "x"}


async def test_outputs_become_json_values() -> None:
    given = Giving(picture=[Picture(b"p")], text={"a": Text("t")}, pair=(1, None), key={1: True})
    assert await whole(given) == {
        "picture": [{"data:image/png;base64": "AAAA"}],
        "text": {"a": "t"},
        "pair": [1, None],
        "key": {"1": True},
    }


async def test_what_json_cannot_say_is_named() -> None:
    with pytest.raises(FlowError, match="'bad'"):
        await whole(Giving(good=1, bad={"x": object()}))
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(FlowError, match="'bad'"):
        await whole(Giving(bad=circle))


async def test_generators_that_are_not_answered_are_closed() -> None:
    closed: list[str] = []
    first, second = counted(closed, "first")(), counted(closed, "second")()
    next(first), next(second)
    served = ServedFlow(Giving(first=first, second=second), {})
    with pytest.raises(TwoStreamsError):
        await served.score({}, takes_pieces=True)
    assert sorted(closed) == ["first", "second"]


async def test_generators_are_joined_for_whoever_takes_no_pieces() -> None:
    twice = iter(["a", "b"])
    assert await whole(Giving(first=twice, again=twice, other=iter(["c"]))) == {
        "first": "ab",
        "again": "ab",
        "other": "c",
    }


async def test_a_selected_generator_lives_and_the_other_is_closed() -> None:
    closed: list[str] = []
    other = counted(closed, "other")()
    next(other)
    environ = {INCLUDED_FIELDS: '["kept"]'}
    assert await whole(Giving(kept=iter(["a", "b"]), other=other), environ) == {"kept": "ab"}
    assert closed == ["other"]


async def test_an_answer_that_is_left_closes_its_generator() -> None:
    closed: list[str] = []
    served = ServedFlow(Giving(out=counted(closed, "out")()), {})
    answer = await served.score({})
    assert answer.pieces is not None
    assert await anext(answer.pieces) == "out"
    await answer.aclose()
    await answer.aclose()
    assert closed == ["out"]


async def test_a_generator_that_fails_is_told_without_its_text() -> None:
    async def give() -> AsyncGenerator[str, None]:
        yield "a"
        raise ValueError("a private text")

    with pytest.raises(NodeFailedError) as caught:
        await whole(Giving(out=give()))
    assert "private" not in str(caught.value)


async def test_a_generator_that_fails_with_an_error_of_ours_keeps_it() -> None:
    async def give() -> AsyncGenerator[str, None]:
        yield "a"
        raise FlowInputError("Ours.")

    with pytest.raises(FlowInputError, match="Ours"):
        await whole(Giving(out=give()))


async def test_plain_generators_do_not_stand_in_each_others_way() -> None:
    """Each waits for the other's piece: in one thread neither would come to its end."""
    barrier = threading.Barrier(2, timeout=5)

    def give() -> Iterator[str]:
        barrier.wait()
        yield "x"

    threads = stream_threads()

    async def read() -> list[str]:
        return [piece async for piece in pieces(give(), threads)]

    assert list(await asyncio.gather(read(), read())) == [["x"], ["x"]]
    threads.close()


def test_a_selection_that_is_no_list_is_refused_at_the_start() -> None:
    with pytest.raises(FlowFormatError, match=INCLUDED_FIELDS):
        ServedFlow(Giving(a=1), {INCLUDED_FIELDS: "a, b"})


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[]"])
def test_samples_that_are_no_list_are_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "samples.json").write_text(text)
    told = ServedFlow(Giving(tmp_path, a=1), {}).swagger()
    asked = told["paths"]["/score"]["post"]["requestBody"]
    assert asked["content"]["application/json"]["example"] == {}
    assert asked["required"] is False


@pytest.mark.parametrize(
    "value",
    [
        "data:image/png;base64,AAAA",
        {"data:image/png;base64": "AAAA"},
        {"data:image/png;url": "https://a.example/b.png"},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
        {"type": "product", "image_url": "images/1.png"},
        "write to /etc/hosts about data: image/png and its path",
    ],
)
def test_what_names_no_file_is_an_input_like_others(value: object) -> None:
    refuse_files((Input(name="x", kind="object"),), {"x": value})


def test_an_input_that_is_an_image_is_no_path() -> None:
    declared = (Input(name="x", kind="image"),)
    refuse_files(declared, {"x": "https://a.example/b.png"})
    with pytest.raises(FlowInputError, match="'x'"):
        refuse_files(declared, {"x": "../b.png"})


def test_deep_inputs_are_looked_through() -> None:
    deep: object = {"data:image/png;path": "x"}
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(FlowInputError):
        refuse_files((Input(name="x"),), {"x": deep})
