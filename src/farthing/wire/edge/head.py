"""The head of a request: strict reading, at the price of a dictionary look-up per known line.

Clients repeat themselves: most header lines of a request were seen before. A line is checked and taken
apart once, then remembered (`Lines`), which makes strictness free where it would otherwise cost most.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

import msgspec

from farthing.wire.edge.limits import Limits
from farthing.wire.edge.refusal import RefusedError, malformed

_ALNUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: RFC 9110, 5.6.2 (token) and 5.5 (field-content; bytes above 127 are let through as text without meaning).
_TOKEN = b"!#$%&'*+-.^_`|~" + _ALNUM
_TEXT = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_VISIBLE = bytes(range(0x21, 0x7F))

#: How many lines are remembered, and how long they may be. The memory is emptied when it is full, so a
#: client that never repeats itself costs time, not space.
_REMEMBERED = 1024
_REMEMBERED_BYTES = 200
#: A line whose name holds one of these may carry a secret and is never remembered.
_SECRET = re.compile(r"auth|key|cookie|token|secret|session|password")
#: Different in every request; remembering would only push out others.
_PASSING = frozenset({"traceparent", "x-request-id"})

#: Names that decide where a message ends or whom it is for: doubled, two readers could differ.
_ONCE = ("content-length", "host", "transfer-encoding", "expect")
_CONTROL = "The head holds a control character, or a line that does not end in CR LF."
_ABSOLUTE = re.compile(r"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE)


class RequestLine(msgspec.Struct, frozen=True):
    """Method, target and version. host: the authority of a target in absolute form.

    path: percent-decoded. query: as sent. minor: the digit of HTTP/1.x.
    """

    method: str
    path: str
    query: str
    minor: int
    host: str | None = None


class RequestHead(msgspec.Struct, frozen=True):
    """A request up to its empty line.

    headers: names in lower case; of a repeated one the last. lines: all of them, as they came.
    length: of the body in bytes, None when it comes in chunks.
    """

    line: RequestLine
    headers: dict[str, str]
    lines: list[bytes]
    length: int | None
    keep_alive: bool


class Names(dict[bytes, tuple[str, bool]]):
    """Header names as sent → (in lower case, whether lines of that name may be remembered)."""

    def __missing__(self, name: bytes) -> tuple[str, bool]:
        if not name or name.translate(None, _TOKEN):
            raise malformed(
                "A header line is folded."
                if name[:1] in (b" ", b"\t")
                else "A header's name is empty, or holds a character that is not allowed there."
            )
        lower = name.decode("ascii").lower()
        known = (lower, lower not in _PASSING and not _SECRET.search(lower))
        if len(name) <= _REMEMBERED_BYTES:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[name] = known
        return known


class Lines(dict[bytes, tuple[str, str]]):
    """Header lines → (name in lower case, value). Raises RefusedError for one that is malformed."""

    def __init__(self) -> None:
        super().__init__()
        self._names = Names()

    def __missing__(self, line: bytes) -> tuple[str, str]:
        name, colon, value = line.partition(b":")
        if not colon:
            raise malformed("A header line has no colon.")
        lower, is_memorable = self._names[name]
        if value.translate(None, _TEXT):
            raise malformed(_CONTROL)
        field = (lower, value.decode("latin-1").strip(" \t"))
        if is_memorable and len(line) <= _REMEMBERED_BYTES:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[line] = field
        return field


class Openings(dict[bytes, RequestLine]):
    """Request lines → their parts. Raises RefusedError for one that is malformed."""

    def __missing__(self, line: bytes) -> RequestLine:
        parts = _request_line(line)
        # Google's clients may send their key in the query.
        if len(line) <= _REMEMBERED_BYTES and not parts.query:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[line] = parts
        return parts


class HeadReader:
    """Reads heads within `limits`; holds what was learned from earlier ones."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._openings = Openings()
        self._read_line = Lines().__getitem__

    def read(self, head: bytes) -> RequestHead:
        """A head without its empty line. Raises RefusedError."""
        if len(head) > self._limits.head:
            raise too_large(self._limits)
        lines = head.split(b"\r\n")
        first = lines.pop(0)
        if len(first) > self._limits.request_line:
            raise _long_line(self._limits)
        if len(lines) > self._limits.header_count:
            raise RefusedError(
                f"The request has more than {self._limits.header_count} headers.", status=431
            )
        line = self._openings[first]
        headers = dict(map(self._read_line, lines))
        if len(headers) != len(lines):
            _join_repeated([self._read_line(each) for each in lines], headers)
        if "host" not in headers and line.minor:
            raise malformed("The Host header is missing.")
        if line.host is not None:
            headers["host"] = line.host  # RFC 9112, 3.2.2: the target's authority replaces Host
        keeps = _keeps(headers, line) if "connection" in headers else line.minor == 1
        length: int | None = 0
        if "transfer-encoding" in headers:
            _check_coding(headers, line)
            length = None
        elif "content-length" in headers:
            length = _stated(headers["content-length"])
        return RequestHead(line, headers, lines, length, keeps)

    def check_beginning(self, held: bytes, fresh: bytes) -> None:
        """Refuse a head that is not complete yet and cannot become a good one. Raises RefusedError.

        held: what was checked before; fresh: what has come since.
        """
        limits = self._limits
        if len(held) + len(fresh) > limits.head:
            raise too_large(limits)
        # A CR at the very end may be half of a line's end, so one at the end of `held` is looked at again.
        part = b"\r" + fresh if held[-1:] == b"\r" else fresh
        if part.removesuffix(b"\r").replace(b"\r\n", b"").translate(None, _TEXT):
            raise malformed(_CONTROL)
        head = held + fresh if len(held) <= limits.request_line else held
        end = head.find(b"\r\n", 0, limits.request_line + 2)
        if end >= 0:
            self._openings[head[:end]]
        elif len(head) > limits.request_line:
            raise _long_line(limits)


def too_large(limits: Limits) -> RefusedError:
    """The refusal of a head over its bound. 400, as clients of earlier releases know it, not 431."""
    return RefusedError(f"The request's headers are larger than {limits.head} bytes.")


def _request_line(line: bytes) -> RequestLine:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise malformed("The request line is not METHOD TARGET VERSION, with one space between.")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        if re.fullmatch(rb"HTTP/\d\.\d", version):
            raise RefusedError("Only HTTP/1.1 and HTTP/1.0 are spoken here.", status=505)
        raise malformed("The version is not HTTP/1.1.")
    if not method or method.translate(None, _TOKEN):
        raise malformed("The method is not a word.")
    if not target or target.translate(None, _VISIBLE) or b"#" in target:
        raise malformed("The target holds a character that is not allowed there.")
    return split_target(method.decode("ascii"), target.decode("ascii"), minor=version[-1] - 48)


def split_target(method: str, target: str, *, minor: int = 1) -> RequestLine:
    """The parts of a target in origin, absolute or (for OPTIONS) asterisk form. Raises RefusedError.

    The absolute form (`GET http://host/path`) is what clients send to proxies; RFC 9112 asks servers to
    take it, and its authority then counts instead of the Host header's.
    """
    host = None
    if not target.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is not None:
            host, target = absolute[1], absolute[2] or "/"
            target = target if target.startswith("/") else f"/{target}"
        elif not (target == "*" and method == "OPTIONS"):
            raise malformed("The target is neither a path nor an http address.")
    path, _, query = target.partition("?")
    return RequestLine(method, unquote(path) if "%" in path else path, query, minor, host)


def _join_repeated(fields: list[tuple[str, str]], headers: dict[str, str]) -> None:
    names = [name for name, _ in fields]
    for name in _ONCE:
        if names.count(name) > 1:
            raise malformed(f"The header {name.title()} stands there twice.")
    if names.count("connection") > 1:  # a list over several lines; one `close` in it counts
        headers["connection"] = ", ".join(value for name, value in fields if name == "connection")


@lru_cache(maxsize=1024)
def _stated(length: str) -> int:
    if not length.isdecimal() or len(length) > 18:  # Latin-1 has no decimals but ASCII's
        raise malformed("Content-Length is not a number.")
    return int(length)


def _check_coding(headers: dict[str, str], line: RequestLine) -> None:
    """Refuse a transfer coding that is not read here, or that must not stand here."""
    if "content-length" in headers:
        raise malformed("Content-Length stands beside Transfer-Encoding.")
    if not line.minor:
        raise malformed("HTTP/1.0 has no Transfer-Encoding.")
    if headers["transfer-encoding"].lower() != "chunked":
        raise RefusedError("The only transfer coding read here is chunked.", status=501)


def _keeps(headers: dict[str, str], line: RequestLine) -> bool:
    wish = headers["connection"]
    if wish == "keep-alive":
        return True
    words = {word.strip() for word in wish.lower().split(",")}
    return "close" not in words and (line.minor == 1 or "keep-alive" in words)


def _long_line(limits: Limits) -> RefusedError:
    return RefusedError(f"The request line is longer than {limits.request_line} bytes.", status=414)
