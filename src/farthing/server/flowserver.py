"""One flow on a port of its own, at the addresses where prompt flow's server has it: /score and the others."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from farthing.flows.serving.asking import CallersModels
from farthing.gateway.client import Gateway
from farthing.server.app import App
from farthing.server.faces.flows import ALONE
from farthing.server.flowshelf import Opener, Shelf, from_disk, open_served
from farthing.server.listener import listen
from farthing.server.serve import refuse_exposure, serve


async def serve_flow(
    path: Path,
    host: str,
    port: int,
    *,
    gateway: Gateway,
    opener: Opener | None = None,
    is_open: bool = False,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the flow until SIGTERM or SIGINT.

    gateway: through which its models are called, on the account of whoever asks. opener: opens the flow;
    give one for a variant, init values or other connections. is_open: callers need no key, wherever they
    are (prompt flow's way). ready: told the URL once requests are answered. port: 0 picks a free one.
    Raises FlowError when the flow cannot be opened, ConfigError for an address that is taken, and, unless
    is_open, when other machines could call without a key.
    """
    settings = msgspec.structs.replace(gateway.settings.server, host=host, port=port)
    with listen(settings) as listener:
        async with flow_app(path, listener, gateway=gateway, opener=opener, is_open=is_open) as app:
            await serve(gateway, listener, ready=ready, app=app)


@asynccontextmanager
async def flow_app(
    path: Path,
    listener: socket.socket,
    *,
    gateway: Gateway,
    opener: Opener | None = None,
    is_open: bool = False,
) -> AsyncIterator[App]:
    """The application that `serve_flow` serves, for as long as the block runs; see there."""
    if not is_open:
        await refuse_exposure(gateway.accounts, listener)
    flow = await open_served(path, opener or from_disk(gateway), CallersModels(), gateway.clock)
    app = App(gateway, faces=(ALONE,), shelf=Shelf(gateway, only=flow, is_open=is_open))
    try:
        yield app
    finally:
        await app.aclose()
