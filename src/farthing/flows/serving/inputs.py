"""What a served flow refuses in its inputs: whatever would make it read a file of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from farthing.core.errors import FlowInputError
from farthing.flows.graph import Input

#: `data:image/png;path`, as the key of an image or at the head of a text that a prompty takes for one.
_PATH = re.compile(r"\s*data:\s*image/[^;]*;\s*path\b", re.IGNORECASE)
_ELSEWHERE = ("http://", "https://", "data:")


def refuse_files(declared: Sequence[Input], inputs: Mapping[str, Any]) -> None:
    """Raises FlowInputError for an image that is given by its path. inputs: already of their types."""
    kinds = {each.name: each.kind for each in declared}
    for name, value in inputs.items():
        if _names_file(value) or (kinds.get(name) == "image" and _is_path(value)):
            raise FlowInputError(
                f"The input '{name}' gives an image by its path, which a served flow does not open.",
                hint='Send the image itself: {"data:image/png;base64": "…"}.',
                param=name,
            )


def _names_file(root: object) -> bool:
    """Whether an image by path is anywhere in it. Without recursion: requests may be deep."""
    left = [root]
    while left:
        value = left.pop()
        if isinstance(value, str):
            if _PATH.match(value):
                return True
        elif isinstance(value, dict):
            if _is_vision_file(value):
                return True
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
    return False


def _is_vision_file(value: dict[Any, Any]) -> bool:
    """Whether it is an image by path in the openai-vision form."""
    if value.get("type") != "image_url":
        return value.get("type") == "image_file"
    said = value.get("image_url")
    return _is_path(said.get("url") if isinstance(said, dict) else said)


def _is_path(value: object) -> bool:
    return isinstance(value, str) and not value.strip().lower().startswith(_ELSEWHERE)
