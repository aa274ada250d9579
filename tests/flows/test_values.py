"""Inputs are taken as prompt flow takes them, trap by trap."""

from __future__ import annotations

import pytest

from farthing.core.errors import FlowInputError
from farthing.flows.values import coerce


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        ("int", 3.7, 3),
        ("int", "12", 12),
        ("double", "1.5", 1.5),
        ("double", 2, 2.0),
        ("bool", True, True),
        ("bool", "FALSE", False),
        ("string", None, "None"),
        ("string", {"a": 1}, "{'a': 1}"),
        ("string", 7, "7"),
        ("list", [1], [1]),
        ("list", "[1, 2]", [1, 2]),
        ("object", '{"a": 1}', {"a": 1}),
        ("object", "no json", "no json"),
        ("object", 5, 5),
        ("AzureOpenAIConnection", "name", "name"),
    ],
)
def test_what_each_type_accepts(kind: str, given: object, taken: object) -> None:
    assert coerce(kind, given, name="x") == taken


@pytest.mark.parametrize(
    ("kind", "given"),
    [("int", "3.0"), ("int", None), ("double", "x"), ("bool", 1), ("bool", "yes"), ("list", "a"),
     ("list", {"a": 1}), ("list", '{"a": 1}'), ("int", float("inf"))],
)  # fmt: skip
def test_what_each_type_refuses_names_the_input_and_the_type(kind: str, given: object) -> None:
    with pytest.raises(FlowInputError, match=f"'x' in line 3 .* no {kind}"):
        coerce(kind, given, name="x", where=" in line 3")
