"""Secrets are named in settings, resolved at use, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from farthing.base.config.secrets import masked, resolve_secret
from farthing.core.errors import ConfigError


def test_the_three_forms_resolve(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n", encoding="utf-8")
    assert resolve_secret("env:KEY", {"KEY": "from-env"}).reveal() == "from-env"
    assert resolve_secret(f"file:{file}", {}).reveal() == "from-file"
    assert resolve_secret("literal", {}).reveal() == "literal"


def test_a_secret_does_not_show_itself() -> None:
    secret = resolve_secret("sk-very-private", {})
    assert "private" not in f"{secret!r} {secret} {[secret]}"
    assert masked("sk-very-private") == "***"
    assert masked("env:OPENAI_API_KEY") == "env:OPENAI_API_KEY"


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}, {"KEY": "  "}])
def test_an_unset_or_empty_variable_is_an_error_that_names_it(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="environment variable KEY is not set"):
        resolve_secret("env:KEY", environ)


def test_a_missing_empty_or_binary_file_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path, words in (
        (tmp_path / "no", "does not exist"),
        (empty, "is empty"),
        (binary, "cannot"),
    ):
        with pytest.raises(ConfigError, match=words):
            resolve_secret(f"file:{path}", {})
