"""Whatever graph of functions there is: exported and run, it gives what it gives as a graph."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farthing.base.clock import SystemClock
from farthing.core.errors import FlowFormatError
from farthing.flows.connections.connections import Connections
from farthing.flows.dag import format as dag
from farthing.flows.export.export import export
from farthing.flows.open import open_flow
from farthing.flows.remote import RemoteModels
from tests.flows.exports import TOOL, told, write

pytestmark = pytest.mark.slow


#: By file: functions that take any values. Each has one parameter that must be given, and others.
CODES = {
    "mix.py": TOOL + "def mix(a, b='b', c=None):\n    return [a, b, c]\n",
    "pair.py": TOOL + "async def pair(a, b=0) -> dict:\n    return {'left': a, 'k.x': [b, a]}\n",
    "same.py": "import json\n\n\ndef helper(a):\n    return json.loads(json.dumps(a))\n\n\n"
    + TOOL
    + "def same(a, b=()):\n    return helper(a)\n",
    "own.py": "HOME = __file__\n\n"
    + TOOL
    + "def own(a, b=1.5):\n    return {'left': {'k.x': a}}\n",
    "shared.py": "def helper(a):\n    return [a]\n\n\n"
    + TOOL
    + "def mix(a, b=True):\n    return helper(a) if b else b\n",
}
END = (
    "from promptflow.core import log_metric, tool\n\n\n@tool\ndef end(a, b=None):\n"
    "    log_metric('end', len(str([a, b])))\n    return {'left': a}\n"
)
NAMES = ["first", "x", "list", "two words", "class", "mix", "output", "farthing", "n1", "Any"]
LITERALS = st.one_of(
    st.integers(-3, 3),
    st.booleans(),
    st.sampled_from(["", "a", "two\nlines\n\"'\\", "${x", "é\u2028", "b" * 90]),
    st.lists(st.integers(0, 2), max_size=2),
    st.dictionaries(
        st.sampled_from(["a b", "c"]), st.floats(allow_nan=False, width=16), max_size=2
    ),
)
PATHS = st.sampled_from(["", "", "", ".left", "['k.x'][0]", ".left['k.x']"])


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """A flow's document. Nodes refer to those before them, so it has no circle."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=7, unique=True))
    nodes: list[dict[str, Any]] = []
    ends: list[str] = []

    def value(before: list[str]) -> Any:
        choices = [LITERALS, st.sampled_from(["${inputs.x}", "${inputs.flag}"])]
        if before:
            named = st.tuples(st.sampled_from(before), PATHS)
            choices += [named.map(lambda found: f"${{{found[0]}.output{found[1]}}}")] * 3
        return draw(st.one_of(choices))

    for number, name in enumerate(names):
        is_end = number > 1 and draw(st.booleans()) and draw(st.booleans())
        before = [each for each in names[:number] if is_end or each not in ends]
        inputs = {"a": value(before)}
        if draw(st.booleans()):
            inputs["b"] = value(before)
        file = "end.py" if is_end else draw(st.sampled_from(sorted(CODES)))
        node = {"name": name, "type": "python", "source": {"path": file}, "inputs": inputs}
        if is_end:
            ends.append(name)
            node["aggregation"] = True
        elif draw(st.booleans()):
            node["activate"] = {
                "when": value(before),
                "is": draw(st.sampled_from([True, None, 1, "a"])),
            }
        nodes.append(node)
    outputs = {
        f"of {name}": {"reference": f"${{{name}.output{draw(PATHS)}}}"}
        for name in names
        if name not in ends
    }
    return {
        "inputs": {"x": {"type": "int"}, "flag": {"type": "bool", "default": True}},
        "outputs": outputs,
        "nodes": draw(st.permutations(nodes)),
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_an_exported_graph_does_what_the_graph_does(document: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_compare(Path(folder), document))


async def _compare(folder: Path, document: Mapping[str, Any]) -> None:
    files = {"flow.dag.yaml": json.dumps(document), "end.py": END, **CODES}
    write(folder / "f", files)
    try:
        dag.load(folder / "f")
    except FlowFormatError:
        return  # e.g. an empty text that its tool has no default for
    more: dict[str, Any] = {"connections": Connections(), "clock": SystemClock()}
    asked: list[Any] = []
    async with RemoteModels("http://127.0.0.1:9", None) as models:
        try:
            graph = open_flow(folder / "f", models=models, **more)
        except FlowFormatError:
            return
        rows = [{"x": 1}, {"x": 2, "flag": False}]
        expected = await told(graph, rows, asked)
        module = open_flow(export(folder / "f", folder / "exported.py"), models=models, **more)
        assert await told(module, rows, asked) == expected
