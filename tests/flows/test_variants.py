"""Which variants are compared: what may be chosen, and the cells that it makes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import FlowError, FlowFormatError, FlowInputError
from farthing.flows.dag import format as dag
from farthing.flows.graph import Flow, Node, Output, Port, Variants, checked
from farthing.flows.open import varied
from farthing.flows.references import parse
from farthing.flows.variants.choices import choices_of, variant_text
from farthing.flows.variants.matrix import count_of, one_by_one, product, selected, size_of
from tests.flows.variant_world import FILES, lay


@pytest.fixture
def graph(tmp_path: Path) -> Flow:
    return dag.load(lay(tmp_path / "graph", FILES))


# --- which cells ---

NAMES = st.text("abcdefgh", min_size=1, max_size=4)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A chain of nodes, some of which have variants."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    nodes, variants = [], {}
    for at, name in enumerate(names):
        ports = (Port(name="x", reference=parse(f"${{{names[at - 1]}.output}}")),) if at else ()
        node = Node(name=name, kind="llm", inputs=ports)
        ids = draw(st.lists(NAMES, max_size=3, unique=True))
        if at == 0 and not ids:
            ids = ["only"]
        if ids:
            bodies = {
                each: Node(name=name, kind="llm", inputs=ports, connection=each) for each in ids
            }
            default = draw(st.sampled_from(ids))
            variants[name] = Variants(default=default, nodes=bodies)
            node = bodies[default]
        nodes.append(node)
    return checked(Flow(name="f", folder=Path("f"), nodes=tuple(nodes), variants=variants))


@given(flow=flows(), data=st.data())
def test_the_cells_are_every_combination_of_what_is_chosen(flow: Flow, data: st.DataObject) -> None:
    chosen = {
        node: data.draw(st.lists(st.sampled_from(list(each.nodes)), min_size=1, unique=True))
        for node, each in flow.variants.items()
    }
    words = [f"${{{node}.{','.join(each)}}}" for node, each in chosen.items()]
    selection = selected(flow, words)
    matrix = product(flow, selection)
    expected = {
        frozenset(zip(chosen, each, strict=True)) for each in itertools.product(*chosen.values())
    }
    assert {frozenset(cell.choices.items()) for cell in matrix.cells} == expected
    assert len(matrix.cells) == len(expected) == count_of(selection)
    assert len({cell.label for cell in matrix.cells}) == len(expected)
    defaults = {node: each.default for node, each in flow.variants.items()}
    first = matrix.cells[0].choices
    assert all(first[n] == defaults[n] for n in chosen if defaults[n] in chosen[n])
    for cell in matrix.cells:
        assert choices_of(variant_text(cell.choices)) == cell.choices
        bodies = {node.name: node.connection for node in flow.with_variants(cell.choices).nodes}
        assert {node: bodies[node] for node in cell.choices} == cell.choices
        assert (cell.label == "default") == (cell.choices == defaults)


@given(flow=flows())
def test_one_by_one_is_the_defaults_and_each_other_variant_alone(flow: Flow) -> None:
    cells = one_by_one(flow, selected(flow, ())).cells
    defaults = {node: each.default for node, each in flow.variants.items()}
    assert cells[0].choices == defaults
    changed = [{n: v for n, v in cell.choices.items() if v != defaults[n]} for cell in cells[1:]]
    assert changed == [
        {node: each} for node in flow.variants for each in flow.variants[node].nodes
        if each != defaults[node]
    ]  # fmt: skip


@given(flow=flows())
def test_shared_calls_are_never_more_than_those_of_the_cells_alone(flow: Flow) -> None:
    matrix = product(flow, selected(flow, ()))
    size = size_of(flow, matrix, 3)
    one = max(len(flow.nodes) * 3, 0)
    assert one <= size.calls <= size.calls_alone == one * len(matrix.cells)
    if len(matrix.cells) == 1:
        assert size.calls == size.calls_alone


def test_what_is_chosen_may_be_spelt_in_several_ways(graph: Flow) -> None:
    whole = {"draft": ("plain", "short", "again"), "tone": ("warm", "cool")}
    assert selected(graph, ()) == selected(graph, ["${draft.*}", "tone.*"]) == whole
    assert selected(graph, ["${draft}", "tone"]) == whole
    assert selected(graph, ["tone.cool, warm", "${draft.again}"]) == {
        "tone": ("warm", "cool"),
        "draft": ("again",),
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["${drafd.*}"], r"'drafd' of the flow .* no variants.*'draft'"),
        (["${draft.shrt}"], r"'draft' has no variant 'shrt'.*'short'"),
        (["outline.a"], r"'outline' of the flow .* has no variants"),
        (["draft.*", "${draft.short}"], "'draft' is chosen twice"),
        (["${draft"], "chooses no variants"),
        (["${}"], "chooses no variants"),
        ([" "], "chooses no variants"),
    ],
)
def test_what_cannot_be_chosen_is_told_with_the_nearest_name(
    graph: Flow, words: list[str], told: str
) -> None:
    with pytest.raises(FlowError, match=told):
        selected(graph, words)


def test_an_unknown_variant_is_told_with_file_and_line(graph: Flow) -> None:
    with pytest.raises(FlowFormatError) as error:
        selected(graph, ["${draft.shrt}"])
    assert error.value.node == "draft"
    assert error.value.path is not None and error.value.path.endswith("flow.dag.yaml")
    assert error.value.line is not None


def test_a_flow_without_variants_says_where_they_stand(tmp_path: Path) -> None:
    text = (
        FILES["flow.dag.yaml"]
        .partition("node_variants")[0]
        .replace("use_variants: true", "type: prompt, source: {type: code, path: draft.jinja2}")
    )
    flow = dag.load(lay(tmp_path / "f", {**FILES, "flow.dag.yaml": text}))
    with pytest.raises(FlowFormatError, match=r"has no variants.*node_variants"):
        selected(flow, ())


def test_a_node_with_a_body_of_its_own_is_not_varied(tmp_path: Path) -> None:
    text = FILES["flow.dag.yaml"].replace(
        "{name: draft, use_variants: true}",
        "{name: draft, type: prompt, source: {type: code, path: draft.jinja2}}",
    )
    flow = dag.load(lay(tmp_path / "f", {**FILES, "flow.dag.yaml": text}))
    assert selected(flow, ()) == {"tone": ("warm", "cool")}


def test_several_variants_are_run_at_once(graph: Flow) -> None:
    for text in ("${draft.short} ${tone.cool}", "${draft.short},${tone.cool}"):
        flow = varied(graph, text)
        assert flow.node("draft") == graph.variants["draft"].nodes["short"]
        assert flow.node("tone") == graph.variants["tone"].nodes["cool"]
    with pytest.raises(FlowInputError, match="two variants at once"):
        varied(graph, "${draft.short} ${draft.plain}")
    with pytest.raises(FlowInputError, match="names no variant"):
        varied(graph, "draft.short tone.cool}")


def test_a_choice_that_changes_what_a_node_waits_for_is_put_in_order() -> None:
    first = Node(name="a", kind="prompt")
    behind = Node(name="a", kind="prompt", inputs=(Port(name="x", reference=parse("${b.output}")),))
    other = Node(name="b", kind="prompt")
    flow = checked(
        Flow(
            name="f",
            folder=Path("f"),
            nodes=(first, other),
            outputs=(Output(name="o", reference=parse("${a.output}")),),
            variants={"a": Variants(default="first", nodes={"first": first, "behind": behind})},
        )
    )
    assert [node.name for node in flow.with_variants({"a": "behind"}).nodes] == ["b", "a"]
