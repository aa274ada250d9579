"""What is usable on this machine without a question: keys by name, model servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from farthing.providers.vendors import Vendor, vendors
from farthing.wire.upstream.origin import is_loopback

#: Largest listing that a probe reads, bytes. A server with more is not a model server on a desk.
_MAX_LISTING = 1024 * 1024


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """One provider that was found. It has no secret in it.

    name: what it will be called here (the type's name). variable: the environment variable with its key,
    None for a local server. base_url, models: of a local server. title: for people.
    """

    name: str
    type: str
    title: str
    variable: str | None = None
    base_url: str | None = None
    models: tuple[str, ...] | None = None


async def detect(environ: Mapping[str, str], timeout_s: float = 0.2) -> tuple[Detected, ...]:
    """Providers whose key is in the environment, then local servers that answer, in the vendors' order.

    Values of variables are never read further than being non-empty. Local servers are asked for their
    model list at their usual loopback port, all at once, within `timeout_s` seconds altogether; what
    does not answer with such a list is not one. Never raises.
    """
    return (*keyed(environ), *await local(timeout_s))


def keyed(environ: Mapping[str, str]) -> tuple[Detected, ...]:
    """The providers whose variables are set."""
    found = []
    for name, row in vendors().items():
        variable = next((key for key in row.key if environ.get(key, "").strip()), None)
        if variable is None or row.local:
            continue
        if all(environ.get(need, "").strip() for need in row.needs):
            found.append(Detected(name=name, type=name, title=row.title, variable=variable))
    return tuple(found)


async def local(timeout_s: float) -> tuple[Detected, ...]:
    """The local vendors whose server answers on loopback."""
    rows = [(name, row) for name, row in vendors().items() if row.local and row.probe]
    probes = [asyncio.create_task(probe(row.base_url)) for _, row in rows]
    try:
        await asyncio.wait(probes, timeout=timeout_s)
        listings = [p.result() if p.done() else None for p in probes]
    finally:
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
    return tuple(
        _found(name, row, models)
        for (name, row), models in zip(rows, listings, strict=True)
        if models is not None
    )


async def probe(base_url: str) -> tuple[str, ...] | None:
    """The model names that the server at this loopback address lists; None when there is none.

    One plain HTTP/1.0 request over a socket: this runs at every start, and the HTTP client's import alone
    takes longer. Addresses beyond loopback are not contacted.
    """
    parts = urlsplit(base_url)
    if not is_loopback_url(base_url) or parts.hostname is None:
        return None
    writer = None
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        request = f"GET {parts.path}/models HTTP/1.0\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n\r\n"
        writer.write(request.encode("ascii"))
        await writer.drain()
        return _listed(await _read_all(reader))
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    finally:
        if writer is not None:
            writer.close()


def is_loopback_url(url: str) -> bool:
    """Whether the address is this machine itself."""
    return is_loopback(urlsplit(url).hostname or "")


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    pieces = bytearray()
    while len(pieces) <= _MAX_LISTING and (piece := await reader.read(65536)):
        pieces += piece
    return bytes(pieces)


class _Row(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    object: str
    data: list[_Row] | None


def _listed(answer: bytes) -> tuple[str, ...] | None:
    """The names in an HTTP answer that is a model list (`object` = `list`); None for anything else."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"] or b"json" not in head.lower():
        return None
    if b"chunked" in head.lower():  # some servers send that to HTTP/1.0 clients too
        body = _unchunked(body)
    try:
        listing = msgspec.json.decode(body, type=_Listing)
    except msgspec.DecodeError:
        return None
    if listing.object != "list":
        return None
    return tuple(sorted(row.id for row in listing.data or []))


def _unchunked(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size_line, _, rest = body.partition(b"\r\n")
        try:
            size = int(size_line.partition(b";")[0], 16)
        except ValueError:
            break
        if size == 0:
            break
        whole += rest[:size]
        body = rest[size + 2 :]
    return bytes(whole)


def _found(name: str, row: Vendor, models: tuple[str, ...]) -> Detected:
    return Detected(name=name, type=name, title=row.title, base_url=row.base_url, models=models)
