"""What a flow gave, without what a machine, a folder or a version adds to it; and the digests that are kept of it.

Needs the standard library alone: the original's environment loads this file as well.
"""

from __future__ import annotations

import base64
import json
import math
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.compat.flows.endpoint import digest

#: What is compared of each thing that was asked.
COMPARED = (
    "outputs",
    "metrics",
    "error",
    "requests",
    "completed",
    "failed",
    "passed",
    "status",
    "swagger",
    "stream",
)
#: Of these the value itself is kept, of the others a digest.
_PLAIN = frozenset({"error", "completed", "failed", "passed", "status"})

_ENDPOINT = re.compile(r"http://127\.0\.0\.1:\d+")


def seen(value: Any, root: Path, folder: Path) -> Any:
    """A result in which nothing of a machine is left. root: the flows' copy. folder: of images' paths."""
    if isinstance(value, bytes):
        return f"image {sha256(value).hexdigest()[:16]}"
    if isinstance(value, dict):
        key = next(iter(value), "")
        if len(value) == 1 and _is_image(key, "path") and (folder / value[key]).is_file():
            return seen((folder / value[key]).read_bytes(), root, folder)
        if len(value) == 1 and _is_image(key, "base64"):
            return seen(base64.b64decode(value[key]), root, folder)
        # Clients of other versions fill a message up with other keys that say nothing.
        is_message = value.get("role") == "assistant"
        return {
            str(key): seen(each, root, folder)
            for key, each in value.items()
            if not (is_message and each is None)
        }
    if isinstance(value, list | tuple):
        return [seen(each, root, folder) for each in value]
    if isinstance(value, str):
        return _ENDPOINT.sub("ENDPOINT", value.replace(str(root), "ROOT"))
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN; the original writes it all the same
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def requests(asked: list[tuple[str, Any]], root: Path) -> list[str]:
    """The multiset of requests, as sorted digests."""
    return sorted(digest([path, _plain(seen(body, root, root))]) for path, body in asked)


def digests(told: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a flow's results. Parts that differ from run to run are kept as `changing`."""
    if "load" in told:
        return {"load": told["load"]}
    again = told.get("again", {})
    kept: dict[str, Any] = {}
    changing = {part for part in COMPARED if again and again.get(part) != told["single"].get(part)}
    for asked, result in told.items():
        if asked == "again":
            continue
        kept[asked] = {
            part: "changing" if part in changing else _kept(part, result[part])
            for part in COMPARED
            if part in result
        }
        if "requests" in result:
            calls = "changing" if "requests" in changing else len(result["requests"])
            kept[asked]["calls"] = calls
    return kept


def joined(events: str) -> dict[str, Any]:
    """A stream of server-sent events put together again: the outputs, their pieces joined in order."""
    whole: dict[str, Any] = {}
    for line in events.splitlines():
        if not line.startswith("data:"):
            continue
        for name, piece in json.loads(line[5:]).items():
            is_more = isinstance(piece, str) and isinstance(whole.get(name), str)
            whole[name] = whole[name] + piece if is_more else piece
    return whole


def interface(swagger: Any, *, is_name: bool = False) -> Any:
    """A swagger document without its prose, which is each side's own. is_name: the keys are names of values."""
    if isinstance(swagger, list):
        return [interface(each) for each in swagger]
    if not isinstance(swagger, dict):
        return swagger
    return {
        key: interface(each, is_name=key == "properties")
        for key, each in swagger.items()
        if is_name or key not in ("summary", "description")
    }


def _kept(part: str, value: Any) -> Any:
    if part in _PLAIN:
        return value
    if part == "swagger":
        return digest(interface(value))
    # A metric is a number: 1 and 1.0 are one.
    return digest(_plain(value) if part == "metrics" else value)


def _plain(value: Any) -> Any:
    """A body in which 1.0 and 1 are one number, and a parameter that is null is none, as for its reader."""
    if isinstance(value, dict):
        # How an embedding's numbers travel is the client's own affair.
        return {
            key: _plain(each)
            for key, each in value.items()
            if each is not None and key != "encoding_format"
        }
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_image(key: object, how: str) -> bool:
    return isinstance(key, str) and key.startswith("data:image/") and key.endswith(f";{how}")
