"""References: what is one, what is a literal, and where it leads."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import FlowFormatError
from farthing.flows.references import InputReference, NodeReference, PathError, parse, resolve


@pytest.mark.parametrize("text", ["${inputs.question}", "${flow.question}"])
def test_both_spellings_of_a_flow_input(text: str) -> None:
    assert parse(text) == InputReference("question")


def test_everything_behind_the_prefix_is_the_inputs_name() -> None:
    assert parse("${inputs.a.b}") == InputReference("a.b")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("${ask.output}", ()),
        ("${ask}", ()),
        ("${ask.output.a.b}", ("a", "b")),
        ("${ask.output.a['k.x']}", ("a", "k.x")),
        ("${ask.output.a[0]}", ("a", 0)),
        ("${ask.output[0]}", (0,)),
        ('${ask.output["k"]}', ("k",)),
    ],
)
def test_paths_into_a_nodes_output(text: str, path: tuple[str | int, ...]) -> None:
    found = parse(text)
    assert isinstance(found, NodeReference)
    assert (found.node, found.path) == ("ask", path)


@pytest.mark.parametrize("value", ["text ${ask.output}", "$x", "${a}.b", "", 3, None, ["${a}"]])
def test_anything_else_is_a_literal(value: object) -> None:
    assert parse(value) is None


@given(st.text(max_size=20))
def test_a_text_that_does_not_end_in_a_brace_is_never_a_reference(text: str) -> None:
    assert parse(f"${{{text}") is None or text.endswith("}")


def test_another_section_is_named_with_what_to_write() -> None:
    with pytest.raises(FlowFormatError, match=r"asks for 'result' of 'ask'.*\$\{ask\.output\}"):
        parse("${ask.result}")


def test_a_path_that_cannot_be_read_is_told_with_its_place() -> None:
    with pytest.raises(FlowFormatError, match=r"after '\$\{ask\.output\.a'"):
        parse("${ask.output.a[b}")


def test_a_word_is_a_key_of_a_mapping_else_an_attribute() -> None:
    value = {"a": SimpleNamespace(b=[1, {"k.x": 2}])}
    assert resolve(value, ("a", "b", 1, "k.x")) == 2


@pytest.mark.parametrize("path", [("b",), ("a", 7), ("a", "__class__")])
def test_a_step_that_leads_nowhere_names_itself(path: tuple[str | int, ...]) -> None:
    with pytest.raises(PathError) as caught:
        resolve({"a": [1]}, path)
    assert caught.value.step == path[-1]
