"""Images in flows: bytes that know their type, read from the forms that prompt flow's files have for them.

Nothing is fetched here: an image that is a URL has no bytes before `fetch` has got them. A model is sent the URL.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from farthing.core.errors import FlowInputError
from farthing.flows.graph import Flow

MessageFormat = Literal["basic", "openai-vision"]

#: The type of an image that none of the signatures fits.
ANY_TYPE = "image/*"
_KEY = re.compile(r"data:image/(?P<type>[^;]*);(?P<form>path|base64|url)")
_DATA_URL = re.compile(r"data:(?P<type>image/[^;,]*);base64,(?P<data>.*)", re.DOTALL)
#: How files begin, by type (offset, bytes).
_SIGNATURES: tuple[tuple[str, int, bytes], ...] = (
    ("image/png", 0, b"\x89PNG\r\n\x1a\n"),
    ("image/jpeg", 0, b"\xff\xd8\xff"),
    ("image/gif", 0, b"GIF8"),
    ("image/webp", 8, b"WEBP"),
    ("image/bmp", 0, b"BM"),
    ("image/tiff", 0, b"II*\x00"),
    ("image/tiff", 0, b"MM\x00*"),
    ("image/x-icon", 0, b"\x00\x00\x01\x00"),
    ("image/avif", 4, b"ftypavif"),
    ("image/heic", 4, b"ftypheic"),
    ("image/heic", 4, b"ftypheix"),
    ("image/heif", 4, b"ftypmif1"),
)
_HINT = (
    'Write {"data:image/png;path": "file.png"}, {"data:image/png;url": "https://…"} '
    'or {"data:image/png;base64": "…"}.'
)


class Image(bytes):
    """An image. Empty bytes with a source_url are an image that only its URL tells.

    mime_type: looked up in the bytes when it is not given, `image/*` when they do not tell.
    """

    source_url: str | None

    def __new__(
        cls, value: bytes, mime_type: str | None = None, source_url: str | None = None
    ) -> Image:
        """The image of these bytes."""
        made = super().__new__(cls, value)
        made.source_url = source_url
        made._mime_type = (mime_type or _type_of(value)).lower()
        named = value or (source_url or "").encode()  # two URLs are two images
        made._hash = hashlib.sha1(named, usedforsecurity=False).hexdigest()[:8]
        return made

    _mime_type: str
    _hash: str

    @property
    def mime_type(self) -> str:
        """As in `image/png`."""
        return self._mime_type

    @property
    def url(self) -> str:
        """Where it is, or itself as a data URL."""
        return self.source_url or self.to_base64(with_type=True)

    def to_base64(self, with_type: bool = False) -> str:
        """The bytes in base64; with_type: as a data URL."""
        text = base64.b64encode(self).decode("ascii")
        return f"data:{self._mime_type};base64,{text}" if with_type else text

    def serialize(self, encoder: Callable[[Image], Any] | None = None) -> Any:
        """What `encoder` makes of it, or its name."""
        return encoder(self) if encoder is not None else str(self)

    def __reduce__(self) -> tuple[type[Image], tuple[bytes, str, str | None]]:
        return Image, (bytes(self), self._mime_type, self.source_url)

    def __str__(self) -> str:
        return f"Image({self._hash})"

    __repr__ = __str__


def image_of(value: Any, folder: Path) -> Image:
    """The image that a value is: one, a mapping in either form, a path, a URL or a data URL.

    folder: what paths are relative to. Raises FlowInputError.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, Mapping):
        found = _from_mapping(value, folder)
        if found is not None:
            return found
    elif isinstance(value, str) and value:
        return _from_text(value, folder)
    raise FlowInputError(f"A {type(value).__name__} is no image.", hint=_HINT)


def with_images(value: Any, folder: Path, message_format: MessageFormat = "basic") -> Any:
    """The value with each mapping that stands for an image, at any depth, as an Image.

    message_format: of the flow; it says which of the two forms counts. Raises FlowInputError.
    """
    if isinstance(value, list):
        return [with_images(each, folder, message_format) for each in value]
    if not isinstance(value, Mapping):
        return value
    is_image = _is_vision if message_format == "openai-vision" else _is_basic
    if is_image(value):
        return image_of(value, folder)
    return {key: with_images(each, folder, message_format) for key, each in value.items()}


def load_inputs(
    flow: Flow, inputs: Mapping[str, Any], folder: Path | None = None
) -> dict[str, Any]:
    """The inputs of a line with their images read, those of the types image, list and object.

    A default with images counts as given. folder: of the data file; the flow's by default. Raises
    FlowInputError.
    """
    at = folder or flow.folder
    taken = dict(inputs)
    for each in flow.inputs:
        value = taken.get(each.name, each.default)
        if value is None:
            continue
        if each.kind == "image":
            many = isinstance(value, list)
            taken[each.name] = [image_of(v, at) for v in value] if many else image_of(value, at)
        elif each.kind in ("list", "object"):
            taken[each.name] = with_images(value, at, flow.message_format)
    return taken


def without_images(
    value: Any,
    message_format: MessageFormat = "basic",
    *,
    keep: Callable[[Image], str] | None = None,
) -> Any:
    """The value as JSON can hold it: each Image in it as a mapping that `image_of` reads again.

    keep: writes an image to a file and returns the path to put in its place; without it images become
    base64.
    """
    if isinstance(value, list | tuple):
        return [without_images(each, message_format, keep=keep) for each in value]
    if isinstance(value, Mapping):
        return {k: without_images(v, message_format, keep=keep) for k, v in value.items()}
    if not isinstance(value, Image):
        return value
    is_vision = message_format == "openai-vision"
    if value.source_url is None and keep is not None:
        path = keep(value)
        if is_vision:
            return {"type": "image_file", "image_file": {"path": path}}
        return {f"data:{value.mime_type};path": path}
    if is_vision:
        return {"type": "image_url", "image_url": {"url": value.url}}
    if value.source_url is not None:
        return {f"data:{value.mime_type};url": value.source_url}
    return {f"data:{value.mime_type};base64": value.to_base64()}


def unfetched(value: Any) -> Iterator[Image]:
    """The images in a value, at any depth, of which only the address is known."""
    if isinstance(value, Image):
        if not value and value.source_url:
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from unfetched(each)
    elif isinstance(value, list):
        for each in value:
            yield from unfetched(each)


def with_bytes(value: Any, got: Mapping[str, Image]) -> Any:
    """The value with each image of `unfetched` as what was got. got: by address."""
    if isinstance(value, Image):
        return value if value else got.get(value.url, value)
    if isinstance(value, dict):
        return {key: with_bytes(each, got) for key, each in value.items()}
    if isinstance(value, list):
        return [with_bytes(each, got) for each in value]
    return value


def _from_mapping(value: Mapping[str, Any], folder: Path) -> Image | None:
    if _is_vision(value):
        if value["type"] == "image_file":
            return _from_path(str(value["image_file"]["path"]), folder, None)
        return _from_text(str(value["image_url"]["url"]), folder)
    if not _is_basic(value):
        return None
    ((key, told),) = value.items()
    found = _KEY.fullmatch(key)
    assert found is not None  # `_is_basic` has looked
    mime_type = f"image/{found['type']}"
    if found["form"] == "path":
        return _from_path(str(told), folder, mime_type)
    if found["form"] == "url":
        return _from_url(str(told), mime_type)
    return Image(_decoded(str(told)), mime_type)


def is_address(text: str) -> bool:
    """Whether a text for an image is a URL, be it a data URL; all others are paths."""
    return _DATA_URL.fullmatch(text) is not None or _is_url(text)


def _is_url(text: str) -> bool:
    try:
        return "://" in text[:16] and bool(urlsplit(text).netloc)
    except ValueError:  # brackets without an IPv6 address in them
        return False


def _from_text(text: str, folder: Path) -> Image:
    found = _DATA_URL.fullmatch(text)
    if found is not None:
        return Image(_decoded(found["data"]), found["type"])
    if _is_url(text):
        return _from_url(text, None)
    return _from_path(text, folder, None)


def _from_url(url: str, mime_type: str | None) -> Image:
    inline = _DATA_URL.fullmatch(url)
    if inline is not None:
        return Image(_decoded(inline["data"]), mime_type)
    if not url.lower().startswith(("http://", "https://")):
        raise FlowInputError("An image has an address that is neither http nor https.", hint=_HINT)
    return Image(b"", mime_type, url)


def _from_path(path: str, folder: Path, mime_type: str | None) -> Image:
    file = folder / path
    try:
        return Image(file.read_bytes(), mime_type)
    except (OSError, ValueError):
        raise FlowInputError(
            f"An image cannot be read: {str(file)[:200]}.",
            hint="Paths are relative to the file that names them. " + _HINT,
        ) from None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise FlowInputError("An image is not base64.", hint=_HINT) from None


def _is_basic(value: Mapping[str, Any]) -> bool:
    if len(value) != 1:
        return False
    key = next(iter(value))
    return _KEY.fullmatch(str(key)) is not None


def _is_vision(value: Mapping[str, Any]) -> bool:
    kind = value.get("type")
    if len(value) != 2 or kind not in ("image_url", "image_file"):
        return False
    told = value.get(kind)
    return isinstance(told, Mapping) and ("url" if kind == "image_url" else "path") in told


def _type_of(value: bytes) -> str:
    for name, offset, signature in _SIGNATURES:
        if value[offset : offset + len(signature)] == signature:
            return name
    return ANY_TYPE
