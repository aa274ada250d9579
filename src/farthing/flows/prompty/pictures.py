"""Images in the inputs of a prompty: texts like `data:image/png;path:logo.png` are read, others stay texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farthing.flows.prompts.chat import Picture

_KEY = re.compile(r"data:image/[^;,]*;(?:path|base64|url)")
#: Prompt flow's form, and the data URLs that browsers know.
_IMAGE = re.compile(rf"({_KEY.pattern})[:,]\s*(.*)", re.DOTALL)


def with_pictures(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values with what stands for an image as one. folder: of paths. Raises FlowInputError."""
    return {name: _read(value, folder) for name, value in values.items()}


def _read(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        found = _IMAGE.fullmatch(value)
        return _image({found[1]: found[2]}, folder) if found else value
    if isinstance(value, list):
        return [_read(each, folder) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and _KEY.fullmatch(str(next(iter(value)))):
        return _image(value, folder)
    return {key: _read(each, folder) for key, each in value.items()}


def _image(told: dict[str, Any], folder: Path) -> Picture:
    from farthing.flows.prompts.images import image_of

    found: Picture = image_of(told, folder)
    return found
