"""Reads a LiteLLM proxy config with the line of everything in it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from farthing.core.errors import ConfigError


def parse(text: str, path: str) -> Any:
    """The document; `ruamel.yaml` keeps the lines. Raises ConfigError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        document = YAML(typ="rt").load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(
            f"This is not valid YAML: {error.problem}.",
            path=path,
            line=mark.line + 1 if mark else None,
            column=mark.column + 1 if mark else None,
        ) from None
    except YAMLError as error:
        raise ConfigError(f"This is not valid YAML ({type(error).__name__}).", path=path) from None
    if not isinstance(document, Mapping) or not isinstance(document.get("model_list"), list):
        hint = "Is this the file that `litellm --config` takes?"
        raise ConfigError("There is no model_list in this file.", hint=hint, path=path)
    return document


def line_of(mapping: Any, key: Any) -> int:
    """The line of a key, from 1; 0 when it is not known."""
    try:
        return int(mapping.lc.key(key)[0]) + 1
    except (AttributeError, KeyError, TypeError):
        return 0


def line_of_item(sequence: Any, index: int) -> int:
    """The line of a list item, from 1; 0 when it is not known."""
    try:
        return int(sequence.lc.item(index)[0]) + 1
    except (AttributeError, KeyError, TypeError):
        return 0


def is_positive(value: Any) -> bool:
    """Whether it is a number above zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
