"""Column mapping: what an expression means, which wins, and how rows find their lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.core.errors import FlowInputError
from farthing.flows.batch.data import Row
from farthing.flows.batch.mapping import ColumnMapping, numbered
from farthing.flows.graph import Input


def inputs(*names: str, **defaults: Any) -> list[Input]:
    return [Input(name=name) for name in names] + [
        Input(name=name, default=value, has_default=True) for name, value in defaults.items()
    ]


def mapped(
    mapping: dict[str, Any], sources: dict[str, dict[str, Any]], declared: list[Input]
) -> dict[str, Any]:
    return ColumnMapping(mapping, declared, sources=tuple(sources)).apply(sources)


def test_expressions_take_columns_and_the_rest_is_literal() -> None:
    found = mapped(
        {
            "a": "${data.x}",
            "b": "${run.outputs.y}",
            "c": "${run.inputs.z}",
            "d": "the ${data.x}",
            "e": 7,
            "f": {"k": "${data.x}"},
        },
        {"data": {"x": 1}, "run.inputs": {"z": 3}, "run.outputs": {"y": 2}},
        inputs("a"),
    )
    assert found == {"a": 1, "b": 2, "c": 3, "d": "the ${data.x}", "e": 7, "f": {"k": "${data.x}"}}


def test_the_shortest_name_of_a_source_wins_and_the_rest_is_one_column() -> None:
    both = {"data.test": {"question": "longer"}, "data": {"test.question": "shorter"}}
    assert mapped({"q": "${data.test.question}"}, both, []) == {"q": "shorter"}
    only_longer = {"data.test": {"question": "longer"}, "data": {"other": 1}}
    assert mapped({"q": "${data.test.question}"}, only_longer, []) == {"q": "longer"}


def test_a_mapping_beats_the_default_which_beats_the_column_of_that_name() -> None:
    sources = {"data": {"a": "column", "b": "column", "c": "column"}}
    found = mapped({"a": "${data.c}"}, sources, inputs("c", a="default", b="default"))
    # The engine fills in the default of `b`.
    assert found == {"a": "column", "c": "column"}


def test_without_data_columns_of_that_name_come_from_the_run() -> None:
    sources = {"run.inputs": {"a": 1, "b": 1}, "run.outputs": {"b": 2}}
    assert mapped({}, sources, inputs("a", "b")) == {"a": 1, "b": 2}


def test_all_that_is_not_found_is_told_at_once() -> None:
    with pytest.raises(FlowInputError) as caught:
        mapped(
            {"a": "${data.questin}", "b": "${base.line}"},
            {"data": {"question": "private"}},
            inputs("c"),
        )
    told = str(caught.value)
    for part in ("${data.questin}", "${base.line}", "${data.c}", "Did you mean 'data.question'?"):
        assert part in told
    assert "private" not in told


def test_line_number_cannot_be_mapped() -> None:
    assert mapped({"line_number": "${data.x}"}, {"data": {}}, []) == {}


def row(line: int, **values: Any) -> Row:
    return Row("d.jsonl", line, values)


def test_rows_have_their_own_number_or_their_position() -> None:
    assert [each.number for each in numbered([row(1), row(2)])] == [0, 1]
    own = [row(1, line_number=5), row(2), row(3, line_number="3")]
    assert [each.number for each in numbered(own)] == [5, 3]


@pytest.mark.parametrize("value", [-1, "x", 1.5, True, None])
def test_a_line_number_is_a_whole_number(value: Any) -> None:
    with pytest.raises(FlowInputError, match=r"Line 4 of d\.jsonl"):
        list(numbered([row(4, line_number=value)]))


def test_a_line_number_is_of_one_row_and_of_all_or_none() -> None:
    with pytest.raises(FlowInputError, match="as a row before it"):
        list(numbered([row(1, line_number=1), row(2, line_number=1)]))
    with pytest.raises(FlowInputError, match="Line 2"):
        list(numbered([row(1), row(2, line_number=1)]))


NAMES = st.text(st.characters(blacklist_characters="${}.", codec="utf-8"), min_size=1, max_size=5)
VALUES = st.none() | st.integers() | st.text(max_size=5)
ROWS = st.dictionaries(NAMES, VALUES, max_size=5)


@given(ROWS, st.data())
def test_each_input_has_what_its_expression_names(columns: dict[str, Any], data: Any) -> None:
    mapping = data.draw(
        st.dictionaries(NAMES, st.sampled_from([f"${{data.{c}}}" for c in columns] or ["literal"]))
    )
    mapping.pop("line_number", None)
    found = mapped(mapping, {"data": columns}, [])
    assert found.keys() == mapping.keys()
    for name, expression in mapping.items():
        assert found[name] == (columns[expression[7:-1]] if columns else expression)


@given(st.dictionaries(NAMES, VALUES), ROWS)
def test_literals_pass_unchanged(mapping: dict[str, Any], columns: dict[str, Any]) -> None:
    mapping.pop("line_number", None)
    assert mapped(mapping, {"data": columns}, []) == mapping


@given(ROWS, st.sets(NAMES), st.sets(NAMES))
def test_an_input_is_found_exactly_if_it_has_a_default_or_a_column(
    columns: dict[str, Any], required: set[str], optional: set[str]
) -> None:
    required -= optional
    declared = inputs(*required, **dict.fromkeys(optional, 1))
    if required <= columns.keys():
        assert mapped({}, {"data": columns}, declared) == {name: columns[name] for name in required}
    else:
        with pytest.raises(FlowInputError) as caught:
            mapped({}, {"data": columns}, declared)
        for name in required - columns.keys():
            assert f"${{data.{name}}}" in str(caught.value)
