"""Puts a question together: the words, the files, the form of the answer."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import click
import msgspec

#: Files that are sent as pictures or documents; anything else must be text.
_MEDIA = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".pdf": "application/pdf",
}


def question_body(
    model: str,
    words: str,
    *,
    system: str | None,
    files: tuple[Path, ...],
    schema: Path | None,
    stream: bool,
) -> bytes:
    """A chat request in OpenAI's dialect. Raises click.BadParameter for a file that cannot be sent."""
    texts = [words] if words else []
    media: list[dict[str, Any]] = []
    for file in files:
        if file.suffix.lower() in _MEDIA:
            media.append(_medium(file))
        else:
            texts.append(f"{file.name}:\n```\n{_text(file)}\n```")
    content: object = "\n\n".join(texts)
    if media:
        content = [{"type": "text", "text": content}, *media] if texts else media
    messages: list[dict[str, object]] = [{"role": "user", "content": content}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    body: dict[str, object] = {"model": model, "messages": messages}
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": _schema(schema)},
        }
    return msgspec.json.encode(body)


def _medium(file: Path) -> dict[str, Any]:
    kind = _MEDIA[file.suffix.lower()]
    url = f"data:{kind};base64,{base64.b64encode(_bytes(file)).decode('ascii')}"
    if kind == "application/pdf":
        return {"type": "file", "file": {"filename": file.name, "file_data": url}}
    return {"type": "image_url", "image_url": {"url": url}}


def _schema(file: Path) -> msgspec.Raw:
    data = _bytes(file)
    try:
        if not isinstance(msgspec.json.decode(data), dict):
            raise click.BadParameter(f"{file} is no JSON schema: it holds no object.")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file} is not valid JSON: {error}.") from None
    return msgspec.Raw(data)


def _text(file: Path) -> str:
    try:
        return _bytes(file).decode("utf-8")
    except UnicodeDecodeError:
        raise click.BadParameter(
            f"{file} is not UTF-8 text. Pictures ({', '.join(sorted(_MEDIA))}) are sent as they are."
        ) from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}.") from error
