"""A question is put together from words, files and a schema."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest

from farthing.cli.question import question_body


def body(words: str = "Why?", *files: Path, **options: object) -> dict[str, object]:
    given: dict[str, object] = {"system": None, "schema": None, "stream": False, **options}
    encoded = question_body("m", words, files=files, **given)  # type: ignore[arg-type]
    return dict(msgspec.json.decode(encoded))


def test_words_alone_are_one_message() -> None:
    assert body() == {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}


def test_instructions_come_first() -> None:
    messages = body(system="Be brief.")["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief."}  # type: ignore[index]


def test_a_stream_asks_for_its_usage() -> None:
    assert body(stream=True)["stream_options"] == {"include_usage": True}


def test_a_text_file_is_quoted_under_its_name(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("print(1)")
    content = body("Explain.", file)["messages"][0]["content"]  # type: ignore[index]
    assert content == "Explain.\n\na.py:\n```\nprint(1)\n```"


def test_a_picture_goes_as_a_picture_and_a_pdf_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "b.pdf").write_bytes(b"%PDF")
    content = body("See.", tmp_path / "a.png", tmp_path / "b.pdf")["messages"][0]["content"]  # type: ignore[index]
    assert [part["type"] for part in content] == ["text", "image_url", "file"]
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")


def test_a_binary_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe")
    with pytest.raises(click.BadParameter, match="not UTF-8"):
        body("See.", tmp_path / "a.bin")


def test_a_schema_becomes_the_form_of_the_answer(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object"}')
    form = body(schema=tmp_path / "s.json")["response_format"]
    assert form["json_schema"]["schema"] == {"type": "object"}  # type: ignore[index]


def test_a_schema_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("[]")
    with pytest.raises(click.BadParameter, match="no object"):
        body(schema=tmp_path / "s.json")
