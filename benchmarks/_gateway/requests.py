"""What the load generator sends: small, long and illustrated prompts, in the dialects of two vendors."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

SYSTEM = "You are a helpful assistant that answers briefly and precisely."
QUESTION = (
    "Please say in one or two sentences what a gateway in front of several language model providers does, "
    "and why the time that it adds to each request matters to somebody who waits for the answer."
)
#: Events of one stream of the mock: fifty deltas, the finish, the usage, `[DONE]`.
EVENTS = 53


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request. token: the bytes of an answer's body that mark its first token."""

    path: str
    body: bytes
    token: str = '"content":'
    headers: Mapping[str, str]

    def encoded(self, headers: Mapping[str, str]) -> bytes:
        """The request as it stands on the wire, with a target's own headers."""
        lines = {
            "Host": "127.0.0.1",
            "Content-Type": "application/json",
            "Accept": "*/*",
            **self.headers,
            **headers,
            "Content-Length": str(len(self.body)),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


def chat(model: str = "bench", *, stream: bool = False, kilobytes: int = 0, images: int = 0) -> Ask:
    """A chat completion in OpenAI's dialect. kilobytes: of the whole body, shared by text and images."""
    question: object = QUESTION
    if images:
        each = (kilobytes * 1000 - 1000) // images * 3 // 4
        pictures = [
            {"type": "image_url", "image_url": {"url": _picture(number, each), "detail": "low"}}
            for number in range(images)
        ]
        question = [{"type": "text", "text": QUESTION}, *pictures]
    elif kilobytes:
        question = _prose(kilobytes * 1000 - 600) + QUESTION
    streaming = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
        **streaming,
    }
    return Ask(path="/v1/chat/completions", body=_json(body), headers={})


def message(model: str = "bench", *, stream: bool = False) -> Ask:
    """The same question in Anthropic's dialect."""
    body = {
        "model": model,
        "system": SYSTEM,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 256,
        "stream": stream,
    }
    headers = {"anthropic-version": "2023-06-01"}
    return Ask(path="/v1/messages", body=_json(body), token="text_delta", headers=headers)


def _json(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _prose(length: int) -> str:
    """Words of ordinary length, quotes and line ends among them; the same at every run."""
    draw = random.Random(20261125)
    words = [*QUESTION.split(), '"quoted"', "naïve", "—", "1,024", "\n"]
    text = ""
    while len(text) < length:
        text += draw.choice(words) + " "
    return text[:length]


def _picture(number: int, size: int) -> str:
    """A data address of `size` bytes that do not compress, like those of a photograph."""
    return (
        "data:image/png;base64," + base64.b64encode(random.Random(number).randbytes(size)).decode()
    )
