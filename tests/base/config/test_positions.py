"""The scan finds every key that the parser finds, at the place where it is written."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from farthing.base.config.positions import KeyPath, Positions


def test_keys_of_every_form_are_found() -> None:
    text = "\n".join(
        [
            "# heading = no",
            "top = 1",
            "[a.b]  # table",
            'text = "]{}= \\" # not a comment"',
            "long = '''",
            "fake = 2",
            "'''",
            "list = [1, # one",
            "  { x = 1, y.z = 2 },",
            "]",
            '"dotted.key".under = 1979-05-27 07:32:00',
            "[[rows]]",
            "n = 1",
            "[[rows]]",
            "  n = 2",
            "[rows.sub]",
            "deep = true",
        ]
    )
    tomllib.loads(text)
    positions = Positions(text)
    expected: dict[KeyPath, tuple[int, int]] = {
        ("top",): (2, 1),
        ("a",): (3, 2),
        ("a", "b"): (3, 4),
        ("a", "b", "text"): (4, 1),
        ("a", "b", "list"): (8, 1),
        ("a", "b", "list", 1): (9, 3),
        ("a", "b", "list", 1, "x"): (9, 5),
        ("a", "b", "list", 1, "y", "z"): (9, 14),
        ("a", "b", "dotted.key", "under"): (11, 14),
        ("rows", 0, "n"): (13, 1),
        ("rows", 1, "n"): (15, 3),
        ("rows", 1, "sub", "deep"): (17, 1),
    }
    assert {path: positions.find(path) for path in expected} == expected


def test_a_key_that_is_absent_is_placed_at_its_table() -> None:
    assert Positions("[a]\nb = 1\n").find(("a", "c")) == (1, 2)
    assert Positions("").find(("a",)) is None


KEYS = st.one_of(
    st.from_regex(r"[a-z0-9_-]{1,5}", fullmatch=True),
    st.text("ab.\"'# =[]{}\\é", min_size=1, max_size=4),
)
LEAVES = st.one_of(
    st.integers(-9, 9), st.booleans(), st.text("ab\"'#=[]{},\\é\n", max_size=6), st.floats(0, 1)
)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return "[ " + " ,\n # ] \n".join(show(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quote(k)} = {show(v)}" for k, v in value.items()) + "}"
    return f"{value!r}"


def paths(tree: object, path: KeyPath = ()) -> list[KeyPath]:
    found = [path] if path else []
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            found += paths(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            found += paths(value, (*path, index))
    return found


@given(TREES, st.booleans())
def test_every_path_of_a_parsed_text_has_its_own_place(
    tree: dict[str, object], as_tables: bool
) -> None:
    lines: list[str] = []
    for key, value in tree.items():
        if as_tables and isinstance(value, dict):
            continue
        lines.append(f"{quote(key)} = {show(value)}")
    for key, value in tree.items():
        if as_tables and isinstance(value, dict):
            lines.append(f"[ {quote(key)} ] # [x]")
            lines += [f"  {quote(k)}={show(v)}" for k, v in value.items()]
    text = "\n".join(lines)
    parsed = tomllib.loads(text)
    positions = Positions(text)
    places = [positions.find(path) for path in paths(parsed)]
    assert None not in places
    starts = text.split("\n")
    for path, place in zip(paths(parsed), places, strict=True):
        assert place is not None
        rest = starts[place.line - 1][place.column - 1 :]
        if isinstance(path[-1], str):
            assert rest.startswith(quote(path[-1]))
