"""Data files: each format, row by row, and errors that say where."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.core.errors import FlowInputError
from farthing.flows.batch import data


def rows(path: Path) -> list[dict[str, Any]]:
    return [row.values for row in data.read(path)]


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_jsonl_keeps_types_and_passes_over_empty_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '\ufeff{"a": 1, "b": "ü"}\n\n  \n{"a": null}\n')
    found = list(data.read(path))
    assert [row.values for row in found] == [{"a": 1, "b": "ü"}, {"a": None}]
    assert [row.line for row in found] == [1, 4]


def test_csv_and_tsv_values_stay_texts(tmp_path: Path) -> None:
    csv = written(tmp_path, "a.csv", '\ufeffa,b\r\n1,"x, ""y""\nz"\r\n010,\r\n')
    assert rows(csv) == [{"a": "1", "b": 'x, "y"\nz'}, {"a": "010", "b": ""}]
    assert [row.line for row in data.read(csv)] == [2, 4]
    assert rows(written(tmp_path, "a.tsv", "a\tb\n1\t,\n")) == [{"a": "1", "b": ","}]


def test_a_row_that_is_too_short_has_nothing_in_its_last_columns(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "a.csv", "a,b\n1\n")) == [{"a": "1", "b": ""}]


def test_a_field_may_be_as_long_as_a_document(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "a\n" + "x" * 300_000 + "\n")
    assert len(rows(path)[0]["a"]) == 300_000


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1, "b": 2}, {"a": 3, "b": 4}]',
        '{"a": [1, 3], "b": [2, 4]}',
        '{"a": {"0": 1, "1": 3}, "b": {"0": 2, "1": 4}}',
    ],
)
def test_json_may_be_rows_or_columns(tmp_path: Path, text: str) -> None:
    assert rows(written(tmp_path, "a.json", text)) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_a_folder_gives_the_rows_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    written(tmp_path / "0", "deep.jsonl", '{"n": 3}')
    written(tmp_path, "b.csv", "n\n2\n")
    written(tmp_path, "a.jsonl", '{"n": 1}\n')
    written(tmp_path, "picture.png", b"\x89PNG")
    written(tmp_path, ".hidden.jsonl", "no")
    assert rows(tmp_path) == [{"n": 1}, {"n": "2"}, {"n": 3}]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv", "a.tsv", "a.json"):
        assert rows(written(tmp_path, name, "")) == []


def test_jsonl_and_csv_are_read_as_streams(tmp_path: Path) -> None:
    good_then_bad = '{"a": 1}\n' * 3 + "broken\n"
    path = written(tmp_path, "a.jsonl", good_then_bad)
    assert len(list(islice(data.read(path), 3))) == 3


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.jsonl", '{"a": 1}\n{"secret text\n', ("Line 2", "not JSON")),
        ("a.jsonl", '{"a": 1}\n[1]\n', ("Line 2", "JSON list")),
        ("a.jsonl", b'{"a": "\xff"}\n', ("Line 1", "UTF-8")),
        ("a.csv", "a,b\n1,2\n1,2,3\n", ("Line 3", "3 fields for 2 columns")),
        ("a.csv", "a,a\n1,2\n", ("Line 1", "'a' twice")),
        ("a.csv", b"a\n\xff\n", ("UTF-8",)),
        ("a.json", '[{"a": 1},\n{"a": }]', ("Line 2", "not JSON")),
        ("a.json", "[1]", ("Row 1", "JSON number")),
        ("a.json", '"text"', ("JSON text",)),
        ("a.json", '{"a": [1], "b": [1, 2]}', ("one length",)),
    ],
)
def test_an_error_names_file_and_line_and_shows_no_data(
    tmp_path: Path, name: str, text: str | bytes, told: tuple[str, ...]
) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(FlowInputError) as caught:
        rows(path)
    for part in (name, *told):
        assert part in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    written(tmp_path, "data.jsonl", "{}")
    with pytest.raises(FlowInputError, match=r"Did you mean 'data\.jsonl'"):
        rows(tmp_path / "dta.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FlowInputError, match="holds no data"):
        rows(tmp_path / "empty")


def test_relative_paths_of_images_are_meant_from_the_data_file(tmp_path: Path) -> None:
    row = {
        "a": {"data:image/png;path": "x.png"},
        "b": [{"data:image/png;path": "/abs.png"}, {"data:image/png;url": "http://h/x.png"}],
        "c": {"type": "image_file", "image_file": {"path": "y.png"}},
        "d": {"path": "stays.png"},
    }
    (found,) = rows(written(tmp_path, "a.jsonl", json.dumps(row)))
    assert found["a"] == {"data:image/png;path": str(tmp_path / "x.png")}
    assert found["b"] == row["b"]
    assert found["c"]["image_file"]["path"] == str(tmp_path / "y.png")
    assert found["d"] == row["d"]


def test_a_digest_tells_changed_data(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"a": 1}\n')
    before = data.digest(path)
    assert data.digest(path) == before
    written(tmp_path, "a.jsonl", '{"a": 2}\n')
    assert data.digest(path) != before


def test_parquet_is_read_or_names_the_package(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(FlowInputError, match="pip install pyarrow"):
            rows(path)
        return
    parquet.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), path)
    assert rows(path) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(FlowInputError, match="cannot be read as Parquet"):
        rows(path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20), st.lists, max_leaves=5
)


@given(st.lists(st.dictionaries(st.text(max_size=8), _JSON, max_size=4), max_size=4))
@settings(max_examples=40)
def test_what_json_writes_comes_back(given_rows: list[dict[str, Any]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in given_rows)
        try:
            path = written(Path(folder), "a.jsonl", text)
        except UnicodeEncodeError:
            return
        assert rows(path) == given_rows
        path = written(Path(folder), "a.json", json.dumps(given_rows))
        assert rows(path) == given_rows
