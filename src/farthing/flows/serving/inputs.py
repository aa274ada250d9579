"""What a served flow refuses in its inputs: whatever would make it read a file of this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from farthing.core.errors import FlowInputError
from farthing.flows.graph import Input
from farthing.flows.prompts.images import is_address

#: `data:image/png;path`, as the key of an image or at the head of a text that a prompty takes for one.
_PATH = re.compile(r"\s*data:\s*image/[^;]*;\s*path\b", re.IGNORECASE)


def refuse_files(declared: Sequence[Input], inputs: Mapping[str, Any]) -> None:
    """Raises FlowInputError for an image that is given by its path.

    inputs: what the caller has given, as it came or of its types; ask of both, because some flows read the
    one and some the other.
    """
    images = {each.name for each in declared if each.kind == "image"}
    for name, value in inputs.items():
        if _names_file(value, is_image=name in images):
            raise FlowInputError(
                f"The input '{name}' gives an image by its path, which a served flow does not open.",
                hint='Send the image itself: {"data:image/png;base64": "…"}.',
                param=name,
            )


def _names_file(root: object, *, is_image: bool) -> bool:
    """Whether an image by path is anywhere in it; of an image, any text that is no address is one.

    Without recursion: requests may be deep.
    """
    left = [root]
    while left:
        value = left.pop()
        if isinstance(value, str):
            if _PATH.match(value) or (is_image and not is_address(value)):
                return True
        elif isinstance(value, dict):
            if _is_vision_file(value):
                return True
            if is_image:  # no form of an image has others in it: their keys and texts are not paths
                left.extend(key for key in value if _PATH.match(str(key)))
                continue
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
    return isinstance(value, str) and not is_address(value)
