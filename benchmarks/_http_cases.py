"""Requests for the fuzzing of the HTTP edge: good ones, odd ones, and mutations of both."""

from __future__ import annotations

from random import Random

_METHODS = (b"GET", b"POST", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE")
_TARGETS = (
    b"/",
    b"/v1/chat/completions",
    b"/a?b=c&d",
    b"/%41",
    b"http://a/b",
    b"*",
    b"//",
    b"/a;b",
)
_HEADERS = (
    b"X-A: b",
    b"Accept: */*",
    b"X-Empty:",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Expect: 100-continue",
    b"Upgrade: h2c",
    b"Content-Type: application/json",
    b'X-Quoted: "a: b"',
    b"X-High: \xc3\xa9",
    b"Cookie: a=b; c=d",
)
#: Shapes that readers are known to differ in.
_ODD = (
    b"Content-Length: 3",
    b"Content-Length: 0",
    b"Content-Length: +3",
    b"Content-Length: -1",
    b"Content-Length: 3, 3",
    b"Content-Length: 0x3",
    b"Content-Length: 3 ",
    b"Content-Length : 3",
    b"Content-Length:\t3",
    b"Content-Length: 99999999999999999999",
    b"content-length: 03",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding:chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: \x00chunked",
    b"Transfer-Encoding\r\n : chunked",
    b"X: a\r\n b",
    b"X: a\r\n\tContent-Length: 4",
    b"X: a\nContent-Length: 4",
    b"X: a\rContent-Length: 4",
    b"X: \x00",
    b" X: a",
    b": a",
    b"X",
    b"Host: b",
    b"\xffX: a",
)
_SIZES = (
    b"%x",
    b"%X",
    b"0%x",
    b"%x;a=b",
    b"%x ;a",
    b"%x ",
    b"+%x",
    b"0x%x",
    b" %x",
    b"%x;\n",
    b"00000000%x",
)
#: Pieces that mutation puts in.
_NASTY = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b"0", b"+", b"-", b";", b",",
    b"\x0b", b"\x85", b"\xff", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
)  # fmt: skip


def requests(seed: int) -> bytes:
    """The bytes of one to three requests on one connection, good or not, by their number."""
    random = Random(seed)
    data = b"".join(_request(random) for _ in range(random.choice((1, 1, 2, 3))))
    for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
        data = _mutated(random, data)
    return data or b"\r\n"


def _request(random: Random) -> bytes:
    body = bytes(random.choices(b"abc\r\n0123;: ", k=random.choice((0, 1, 3, 12, 40))))
    is_odd = random.random() < 0.4
    version = random.choice((b"HTTP/1.1",) * 12 + (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b""))
    line = b" ".join((random.choice(_METHODS), random.choice(_TARGETS), version))
    headers = [b"Host: a"] if random.random() < 0.95 else []
    headers += random.choices(_HEADERS, k=random.choice((0, 0, 1, 2, 3, 30)))
    framing = random.random()
    if framing < 0.4:
        headers.append(b"Content-Length: %d" % len(body))
    elif framing < 0.75:
        headers.append(b"Transfer-Encoding: chunked")
        body = _chunked(random, body, is_odd=is_odd)
    elif random.random() < 0.8:
        body = b""
    if is_odd:
        headers += random.choices(_ODD, k=random.choice((1, 1, 2)))
    random.shuffle(headers)
    end = b"\r\n" if random.random() < 0.98 else b"\n"
    return end.join((line, *headers, b"", b"")) + body


def _chunked(random: Random, body: bytes, *, is_odd: bool) -> bytes:
    pieces = []
    while body:
        size = random.randint(1, len(body))
        form = (
            random.choice(_SIZES) if is_odd and random.random() < 0.3 else random.choice(_SIZES[:4])
        )
        pieces.append(form % size + b"\r\n" + body[:size] + b"\r\n")
        body = body[size:]
    last = random.choice((b"0", b"0", b"0", b"00", b"0;a", b"0 "))
    trailer = random.choice(
        (b"",) * 6 + (b"A: b\r\n", b"A: b\r\n c\r\n", b"Content-Length: 1\r\n", b"x\r\n")
    )
    return b"".join(pieces) + last + b"\r\n" + trailer + b"\r\n"


def _mutated(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    match random.randrange(7):
        case 0:
            return data[:at] + random.choice(_NASTY) + data[at:]
        case 1:
            return data[:at] + data[at + random.choice((1, 1, 2, 4)) :]
        case 2:
            return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]
        case 3:
            return data[:at].swapcase() + data[at:]
        case 4:
            return data[:at]
        case 5:
            lines = data.split(b"\r\n")
            line = random.choice(lines)
            lines.insert(random.randrange(len(lines) + 1), line)
            return b"\r\n".join(lines)
        case _:
            return data.replace(b"\r\n", random.choice((b"\n", b"\r", b"\r\r\n", b"\r\n ")), 1)
