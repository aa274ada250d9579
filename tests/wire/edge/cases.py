"""What a strict reader must take and must refuse, case by case.

The shapes are those that HTTP parsers are known to differ in (the test suites of llhttp and its users, the
literature on request smuggling); the bytes and verdicts are ours. Verdict: the bodies of the requests that
are read, in order, then the status of the refusal, if any.
"""

from __future__ import annotations

import msgspec


class Case(msgspec.Struct, frozen=True):
    """Bytes on a new connection and what must come of them."""

    name: str
    data: bytes
    bodies: tuple[bytes, ...] = ()
    status: int | None = None


_H = b"Host: a\r\n"
_P = b"POST / HTTP/1.1\r\n" + _H
_C = _P + b"Transfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"
_NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

TAKEN = (
    Case("a request without a body", b"GET / HTTP/1.1\r\n" + _H + b"\r\n", (b"",)),
    Case("another method", b"M-SEARCH / HTTP/1.1\r\n" + _H + b"\r\n", (b"",)),
    Case("a query with question marks", b"GET /?a=?b?c HTTP/1.1\r\n" + _H + b"\r\n", (b"",)),
    Case("no space behind the colon", b"GET / HTTP/1.1\r\nHost:a\r\n\r\n", (b"",)),
    Case("tabs around a value", b"GET / HTTP/1.1\r\nHost:\t a \t\r\n\r\n", (b"",)),
    Case("an empty value", b"GET / HTTP/1.1\r\nHost:\r\nX:\r\n\r\n", (b"",)),
    Case("a quoted value", b"GET / HTTP/1.1\r\n" + _H + b'X: "a: b"\r\n\r\n', (b"",)),
    Case("bytes above 127 in a value", b"GET / HTTP/1.1\r\n" + _H + b"X: \xc3\xa9\r\n\r\n", (b"",)),
    Case("names of unusual letters", b"GET / HTTP/1.1\r\n" + _H + b"!#$%&'*+-.^_`|~9: x\r\n\r\n", (b"",)),
    Case("a body with a length", _P + b"Content-Length: 3\r\n\r\nabc", (b"abc",)),
    Case("a length in other letters", _P + b"cONTENT-lENGTH: 3\r\n\r\nabc", (b"abc",)),
    Case("a length of zero", _P + b"Content-Length: 0\r\n\r\n", (b"",)),
    Case("a length with leading zeros", _P + b"Content-Length: 0003\r\n\r\nabc", (b"abc",)),
    Case("a GET with a body", b"GET / HTTP/1.1\r\n" + _H + b"Content-Length: 1\r\n\r\nx", (b"x",)),
    Case("line ends in the body", _P + b"Content-Length: 4\r\n\r\n\r\n\r\n", (b"\r\n\r\n",)),
    Case("a request as a body", _P + b"Content-Length: 58\r\n\r\n" + _NEXT + b"12345678", (_NEXT + b"12345678",)),
    Case("one chunk", _C + b"3\r\nabc\r\n" + _END, (b"abc",)),
    Case("no chunk", _C + _END, (b"",)),
    Case("chunk sizes in both cases", _C + b"a\r\n0123456789\r\nA\r\n0123456789\r\n" + _END, (b"0123456789" * 2,)),
    Case("a chunk size with zeros", _C + b"0003\r\nabc\r\n000\r\n\r\n", (b"abc",)),
    Case("a chunk extension", _C + b"3;name=value\r\nabc\r\n0;end\r\n\r\n", (b"abc",)),
    Case("a quoted chunk extension", _C + b'3;n="v; w"\r\nabc\r\n' + _END, (b"abc",)),
    Case("trailers", _C + b"3\r\nabc\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n", (b"abc",)),
    Case("chunks in capitals", _P + b"Transfer-Encoding: CHUNKED\r\n\r\n" + _END, (b"",)),
    Case("line ends in a chunk", _C + b"4\r\n\r\n\r\n\r\n" + _END, (b"\r\n\r\n",)),
    Case("an offer to upgrade", b"GET / HTTP/1.1\r\n" + _H + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n", (b"",)),
    Case("a body beside an offer to upgrade", _P + b"Upgrade: x\r\nContent-Length: 2\r\n\r\nab", (b"ab",)),
    Case("the old version", b"GET / HTTP/1.0\r\n\r\n", (b"",)),
    Case("the old version with a body", b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", (b"ab",)),
    Case("empty lines in front", b"\r\n\r\nGET / HTTP/1.1\r\n" + _H + b"\r\n", (b"",)),
    Case("an absolute target", b"GET http://a/b HTTP/1.1\r\n" + _H + b"\r\n", (b"",)),
    Case("the asterisk of OPTIONS", b"OPTIONS * HTTP/1.1\r\n" + _H + b"\r\n", (b"",)),
    Case("a repeated harmless header", b"GET / HTTP/1.1\r\n" + _H + b"X: 1\r\nX: 2\r\n\r\n", (b"",)),
)  # fmt: skip

REFUSED = (
    # Two readers could see different borders.
    Case("length beside chunks", _P + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + _END, (), 400),
    Case("chunks beside length", _P + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + _END, (), 400),
    Case("two lengths", _P + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", (), 400),
    Case("the same length twice", _P + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", (), 400),
    Case("a list of lengths", _P + b"Content-Length: 3, 3\r\n\r\nabc", (), 400),
    Case("a signed length", _P + b"Content-Length: +3\r\n\r\nabc", (), 400),
    Case("a negative length", _P + b"Content-Length: -3\r\n\r\nabc", (), 400),
    Case("a hexadecimal length", _P + b"Content-Length: 0x3\r\n\r\nabc", (), 400),
    Case("an empty length", _P + b"Content-Length:\r\n\r\n", (), 400),
    Case("a length with a space inside", _P + b"Content-Length: 3 3\r\n\r\nabc", (), 400),
    Case("a length with an underscore", _P + b"Content-Length: 1_0\r\n\r\n0123456789", (), 400),
    Case("a length that overflows", _P + b"Content-Length: 18446744073709551617\r\n\r\n", (), 400),
    Case("a superscript length", _P + b"Content-Length: \xb3\r\n\r\nabc", (), 400),
    Case("two transfer codings", _P + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + _END, (), 400),
    Case("chunked last of two", _P + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + _END, (), 501),
    Case("chunked first of two", _P + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + _END, (), 501),
    Case("chunked twice in one line", _P + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + _END, (), 501),
    Case("an unknown coding", _P + b"Transfer-Encoding: xchunked\r\n\r\n" + _END, (), 501),
    Case("identity as a coding", _P + b"Transfer-Encoding: identity\r\n\r\n", (), 501),
    Case("a coding behind a vertical tab", _P + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + _END, (), 400),
    Case("chunks in the old version", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + _END, (), 400),
    Case("a space before the colon", _P + b"Content-Length : 3\r\n\r\nabc", (), 400),
    Case("a tab before the colon", _P + b"Transfer-Encoding\t: chunked\r\n\r\n" + _END, (), 400),
    Case("a folded header", _P + b"X: a\r\n b\r\n\r\n", (), 400),
    Case("a header folded by a tab", _P + b"Content-Length: 3\r\n\t4\r\n\r\nabc", (), 400),
    Case("a fold before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", (), 400),
    Case("a bare LF behind a header", b"GET / HTTP/1.1\r\nHost: a\n\r\n", (), 400),
    Case("bare LFs throughout", b"GET / HTTP/1.1\nHost: a\n\n", (), 400),
    Case("a bare LF between headers", _P + b"X: a\nContent-Length: 3\r\n\r\nabc", (), 400),
    Case("a bare CR between headers", _P + b"X: a\rContent-Length: 3\r\n\r\nabc", (), 400),
    Case("a bare CR in a name", _P + b"X\r: a\r\n\r\n", (), 400),
    Case("a doubled CR", _P + b"X: a\r\r\n\r\n", (), 400),
    Case("a NUL in a value", _P + b"X: a\x00b\r\n\r\n", (), 400),
    Case("a NUL in a name", _P + b"X\x00: a\r\n\r\n", (), 400),
    Case("a NUL in the target", b"GET /\x00 HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a control character in a value", _P + b"X: a\x7fb\r\n\r\n", (), 400),
    Case("a name that is empty", _P + b": a\r\n\r\n", (), 400),
    Case("a header without a colon", _P + b"Content-Length\r\n\r\n", (), 400),
    Case("a name of other letters", _P + b"Content-L\xc3\xa9ngth: 3\r\n\r\n", (), 400),
    Case("a name in brackets", _P + b"[X]: 3\r\n\r\n", (), 400),
    # Chunks.
    Case("a signed chunk size", _C + b"+3\r\nabc\r\n" + _END, (), 400),
    Case("a negative chunk size", _C + b"-3\r\nabc\r\n" + _END, (), 400),
    Case("a prefixed chunk size", _C + b"0x3\r\nabc\r\n" + _END, (), 400),
    Case("an empty chunk size", _C + b"\r\nabc\r\n" + _END, (), 400),
    Case("a chunk size of other letters", _C + b"g\r\nabc\r\n" + _END, (), 400),
    Case("a chunk size with an underscore", _C + b"0_3\r\nabc\r\n" + _END, (), 400),
    Case("an overlong chunk size", _C + b"000000003\r\nabc\r\n" + _END, (), 400),
    Case("a chunk size that overflows", _C + b"fffffffffffffffff\r\nabc\r\n" + _END, (), 400),
    Case("a space before a chunk size", _C + b" 3\r\nabc\r\n" + _END, (), 400),
    Case("a space behind a chunk size", _C + b"3 \r\nabc\r\n" + _END, (), 400),
    Case("a space before an extension", _C + b"3 ;a\r\nabc\r\n" + _END, (), 400),
    Case("a chunk line ended by LF", _C + b"3\nabc\r\n" + _END, (), 400),
    Case("a chunk line ended by CR", _C + b"3\rabc\r\n" + _END, (), 400),
    Case("a chunk ended by LF", _C + b"3\r\nabc\n" + _END, (), 400),
    Case("a chunk longer than its size", _C + b"3\r\nabcd\r\n" + _END, (), 400),
    Case("a chunk shorter than its size", _C + b"4\r\nabc\r\n" + _END, (), 400),
    Case("an LF in an extension", _C + b"3;a\nb\r\nabc\r\n" + _END, (), 400),
    Case("a NUL in an extension", _C + b"3;a\x00b\r\nabc\r\n" + _END, (), 400),
    Case("an overlong extension", _C + b"3;" + b"a" * 300 + b"\r\nabc\r\n" + _END, (), 400),
    Case("many extensions", _C + (b"1;" + b"a" * 200 + b"\r\nx\r\n") * 30 + _END, (), 400),
    Case("a body ended by LF", _C + b"3\r\nabc\r\n0\r\n\n", (), 400),
    Case("a trailer ended by LF", _C + b"0\r\nA: b\n\r\n", (), 400),
    Case("a folded trailer", _C + b"0\r\nA: b\r\n c\r\n\r\n", (), 400),
    Case("a trailer without a colon", _C + b"0\r\nabc\r\n\r\n", (), 400),
    Case("overlong trailers", _C + b"0\r\n" + b"A: b\r\n" * 5000 + b"\r\n", (), 400),
    # The request line.
    Case("no version", b"GET /\r\n" + _H + b"\r\n", (), 400),
    Case("no target", b"GET HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("two spaces", b"GET  / HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a tab", b"GET\t/ HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a space in the target", b"GET /a b HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a space in front", b" GET / HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a space behind the version", b"GET / HTTP/1.1 \r\n" + _H + b"\r\n", (), 400),
    Case("a method in brackets", b"G(T / HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a version in small letters", b"GET / http/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a version of two digits", b"GET / HTTP/1.10\r\n" + _H + b"\r\n", (), 400),
    Case("another protocol", b"GET / RTSP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a version to come", b"GET / HTTP/2.0\r\n" + _H + b"\r\n", (), 505),
    Case("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (), 505),
    Case("a version too old", b"GET / HTTP/0.9\r\n" + _H + b"\r\n", (), 505),
    Case("a relative target", b"GET a HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a fragment", b"GET /#a HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("the authority of a tunnel", b"CONNECT a:443 HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("the asterisk of another method", b"GET * HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("a user in an absolute target", b"GET http://u@a/ HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("an absolute target of another scheme", b"GET ftp://a/ HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("other letters in the target", b"GET /\xc3\xa9 HTTP/1.1\r\n" + _H + b"\r\n", (), 400),
    Case("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (), 400),
    # The host.
    Case("no host", b"GET / HTTP/1.1\r\n\r\n", (), 400),
    Case("two hosts", b"GET / HTTP/1.1\r\n" + _H + _H + b"\r\n", (), 400),
    # Behind a good request.
    Case("rubbish behind a body", _P + b"Content-Length: 3\r\n\r\nabc" + b"d\r\n\r\n", (b"abc",), 400),
    Case("a body that states no length", _P + b"\r\nabc\r\n\r\n", (b"",), 400),
    # Too much.
    Case("a target that is too long", b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n" + _H + b"\r\n", (), 414),
    Case("a request line without an end", b"GET /" + b"a" * 17_000, (), 414),
    Case("too many headers", b"GET / HTTP/1.1\r\n" + _H + b"X: y\r\n" * 200 + b"\r\n", (), 431),
    Case("headers that are too large", b"GET / HTTP/1.1\r\n" + _H + b"X: " + b"y" * 66_000, (), 400),
)  # fmt: skip

#: Behind each case that is taken comes another request, which must be seen as one.
NEXT = _NEXT
