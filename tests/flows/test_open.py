"""Opening flows: which kind is where, and what is said of everything else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.core.errors import FlowError, FlowFormatError, FlowInputError
from farthing.flows.flex.flow import FlexFlow
from farthing.flows.models import GatewayModels
from farthing.flows.open import find_flow, open_flow
from farthing.flows.prompty.flow import PromptyFlow
from farthing.flows.prompty.prompty import Prompty
from farthing.flows.runnable import Runnable
from tests.flows.test_prompty import BODY, FRONT
from tests.gateway.world import LOCAL, whole, world


class Connections:
    """One connection, `mine`."""

    api_base = "https://example.org"

    def get(self, name: str) -> Any:
        if name != "mine":
            raise FlowError(f"There is no connection '{name}'.")
        return self


@pytest.fixture
async def given(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    (tmp_path / "data").mkdir()
    async with world(tmp_path / "data", {"a": []}) as it:
        it.provider.scripts["a"] = [[whole("Four")]]
        yield {
            "models": GatewayModels(it.gateway, LOCAL),
            "connections": Connections(),
            "clock": SystemClock(),
        }


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_each_kind_is_found_by_folder_and_by_file(tmp_path: Path) -> None:
    for number, (name, text, kind) in enumerate(
        [
            ("flow.dag.yaml", "nodes: []\n", "dag"),
            ("flow.flex.yaml", "entry: a:b\n", "flex"),
            ("chat.prompty", FRONT + BODY, "prompty"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
        assert find_flow(folder) == find_flow(folder / name) == (kind, folder / name)
    other = tmp_path / "evaluate.yaml"
    other.write_text("entry: a:b\n")
    assert find_flow(other)[0] == "flex"
    (tmp_path / "0" / "flow.dag.yaml").write_text("entry: a:b\n")  # as flex flows once were named
    assert find_flow(tmp_path / "0")[0] == "flex"


def test_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    for path, message in [
        (tmp_path / "flow", "Did you mean 'flows'"),
        (tmp_path / "flows", "There is no flow in this folder"),
        (write(tmp_path, x__txt="") / "x.txt", "This is no flow"),
        (write(tmp_path, a__prompty="", b__prompty=""), "more than one flow: a.prompty, b.prompty"),
    ]:
        with pytest.raises(FlowFormatError, match=message):
            find_flow(path)
    (tmp_path / "flow.flex.yaml").write_text("entry: a:b\n")
    (tmp_path / "flow.flex.yml").write_text("entry: a:b\n")
    with pytest.raises(FlowFormatError, match=r"flow\.flex\.yaml, flow\.flex\.yml"):
        find_flow(tmp_path)


async def test_each_kind_is_opened(tmp_path: Path, given: dict[str, Any]) -> None:
    path = write(tmp_path, chat__prompty=FRONT + BODY) / "chat.prompty"
    opened: Runnable = open_flow(
        path, **given, init={"name": "Other"}, threads=2, line_timeout_s=5.0
    )
    assert isinstance(opened, PromptyFlow)
    assert opened.flow.name == "Other"
    assert (await opened.run({"question": "2+2?"})).outputs == {"output": "Four"}
    assert isinstance(open_flow(Prompty.load(path), **given), PromptyFlow)
    flow = open_flow(lambda x: x, **given, threads=1)
    assert isinstance(flow, FlexFlow)
    assert (await flow.run({"x": 1})).outputs == {"output": 1}
    await flow.aclose()


async def test_variables_of_the_file_are_there_when_its_code_is_imported(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_FLOW_A", "before")
    monkeypatch.setenv("TEST_FLOW_B", "before")
    write(tmp_path, entry__py="import os\nA = os.environ['TEST_FLOW_A']\ndef flow(): return A\n")
    yaml = "entry: entry:flow\nenvironment_variables:\n  TEST_FLOW_A: set\n  TEST_FLOW_B: {}\n"
    (tmp_path / "flow.flex.yaml").write_text(yaml.format("${mine.api_base}"))
    flow = open_flow(tmp_path, **given)
    assert (await flow.run({})).outputs == {"output": "set"}
    assert os.environ["TEST_FLOW_B"] == "https://example.org"
    await flow.aclose()
    (tmp_path / "flow.flex.yaml").write_text(yaml.format("${mine.none}"))
    with pytest.raises(FlowFormatError, match="'mine' has no 'none'"):
        open_flow(tmp_path, **given)


async def test_variants_and_init_values_go_where_there_are_some(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    path = write(tmp_path, chat__prompty=FRONT + BODY) / "chat.prompty"
    for source in (path, lambda x: x):
        with pytest.raises(FlowInputError, match="no variants"):
            open_flow(source, **given, variant="${a.b}")
    (tmp_path / "flow.dag.yaml").write_text("nodes: []\n")
    with pytest.raises(FlowInputError, match="no init values"):
        open_flow(tmp_path, **given, init={"a": 1})


async def test_a_graph_is_opened(tmp_path: Path, given: dict[str, Any]) -> None:
    (tmp_path / "flow.dag.yaml").write_text("nodes: []\n")
    with pytest.raises(FlowInputError, match="names no variant"):
        open_flow(tmp_path, **given, variant="a")
    flow = open_flow(tmp_path, **given)
    assert (await flow.run({})).outputs == {}
    await flow.aclose()


async def test_a_prompty_in_a_node_of_a_graph_uses_the_account_of_the_flow(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    write(
        tmp_path,
        chat__prompty=FRONT + BODY,
        ask__py="from pathlib import Path\n"
        "from promptflow.core import Prompty, tool\n"
        "@tool\n"
        "def ask(q: str):\n"
        "    return Prompty.load(Path(__file__).parent / 'chat.prompty')(question=q)\n",
    )
    (tmp_path / "flow.dag.yaml").write_text(
        "inputs: {q: {type: string}}\n"
        "outputs: {a: {type: string, reference: '${ask.output}'}}\n"
        "nodes:\n"
        "- name: ask\n"
        "  type: python\n"
        "  source: {type: code, path: ask.py}\n"
        "  inputs: {q: '${inputs.q}'}\n"
    )
    flow = open_flow(tmp_path, **given)
    line = await flow.run({"q": "2+2?"})
    assert (line.error, line.outputs) == (None, {"a": "Four"})
    assert flow.spent.calls == 1
    await flow.aclose()
