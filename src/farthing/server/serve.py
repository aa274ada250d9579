"""Runs the application on a socket: start, reload, and an end that lets streams finish."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from farthing.accounts.accounts import Accounts
from farthing.base.config.watch import Reload
from farthing.base.runtime import keep_the_start, spare_the_collector
from farthing.core.errors import ConfigError
from farthing.gateway.client import Gateway
from farthing.server.app import App
from farthing.server.faces.face import Others, no_others
from farthing.server.guard import is_loopback
from farthing.server.listener import url_of
from farthing.server.tls import tls_context
from farthing.wire.edge.limits import Limits
from farthing.wire.edge.server import Edge

_log = logging.getLogger("farthing.server")

#: What cancelled calls may take to settle and connections to close, after the grace has passed.
_LAST_S = 5

#: Reads the settings file anew and puts it in force, or says why not (`ConfigWatcher.reload`).
Reloader = Callable[[], Awaitable[Reload]]


class Server:
    """The running server. `stop` ends it gracefully; a second `stop` at once."""

    def __init__(self, app: App, edge: Edge, gateway: Gateway, url: str) -> None:
        self.url = url
        self._app = app
        self._edge = edge
        self._gateway = gateway
        self._stopping = asyncio.Event()
        self._retiring = asyncio.Event()
        self._at_once = asyncio.Event()

    def stop(self) -> None:
        """Refuse new calls and end once those under way are over, `server.grace_s` at the latest.

        Not ready from now on; new connections are refused once `drained` has taken notice.
        """
        if self._stopping.is_set():
            self._at_once.set()
        self._app.drain()
        self._stopping.set()

    def retire(self) -> None:
        """End for a successor on the same port: whoever is connected is answered, nobody is refused."""
        self._retiring.set()

    async def drained(self) -> None:
        """Wait for `stop` or `retire`, then for the calls under way; what outlasts the grace is cancelled."""
        await _first_of(self._stopping.wait(), self._retiring.wait())
        if not self._stopping.is_set():
            await self._edge.hand_over()
            self.stop()
        await self._edge.drain()
        try:
            async with asyncio.timeout(self._gateway.settings.server.grace_s):
                await _first_of(self._app.idle(), self._at_once.wait())
        except TimeoutError:
            _log.warning("Calls were cut at the end of the grace time: %d", self._app.active)
        self._app.cancel_calls()


async def serve(
    gateway: Gateway,
    listener: socket.socket,
    *,
    reload: Reloader | None = None,
    ready: Callable[[str], None] = lambda url: None,
    others: Others = no_others,
    app: App | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. SIGHUP reloads; SIGUSR1 ends it for a successor on the same port.

    ready: told the URL once requests are answered. others: the series of the processes that serve beside
    this one. app: another application than that of all faces. Raises ConfigError for TLS files that cannot
    be used, and when other machines could call without a key.
    """
    async with serving(gateway, listener, reload=reload, others=others, app=app) as server:
        with _signals(server, reload):
            keep_the_start()
            spare_the_collector()
            ready(server.url)
            await server.drained()


@asynccontextmanager
async def serving(
    gateway: Gateway,
    listener: socket.socket,
    *,
    reload: Reloader | None = None,
    others: Others = no_others,
    app: App | None = None,
) -> AsyncIterator[Server]:
    """The server, answering, as long as the block runs; calls still under way at its end are cancelled.

    app: unset, that of all faces. Whoever brings one decides who may reach it.
    """
    settings = gateway.settings.server
    context = tls_context(settings)
    if app is None:
        await refuse_exposure(gateway.accounts, listener)
        app = App(gateway, reload=reload, others=others)
    limits = Limits(connections_per_address=settings.max_connections_per_address)
    edge = Edge(app.answer, limits=limits, clock=gateway.clock)
    await edge.listen(listener, tls=context)
    try:
        yield Server(app, edge, gateway, url_of(listener, settings))
    finally:
        app.drain()
        app.cancel_calls()
        await edge.close(_LAST_S)
        await app.aclose()


async def refuse_exposure(accounts: Accounts, listener: socket.socket) -> None:
    """Raises ConfigError when the socket is reachable from other machines and no key exists."""
    host = listener.getsockname()[0]
    if is_loopback(host) or await accounts.has_keys():
        return
    raise ConfigError(
        f"Other machines can reach {host}, and there is no key yet: anyone could spend your money.",
        hint="Create one with `farthing keys create NAME`, or listen on 127.0.0.1.",
    )


@contextmanager
def _signals(server: Server, reload: Reloader | None) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    running: set[asyncio.Future[Reload]] = set()

    def reload_now() -> None:
        if reload is None:
            _log.warning("There is no settings file to reload.")
            return
        task = asyncio.ensure_future(reload())
        running.add(task)
        task.add_done_callback(running.discard)

    handlers = {
        signal.SIGTERM: server.stop,
        signal.SIGINT: server.stop,
        signal.SIGHUP: reload_now,
        signal.SIGUSR1: server.retire,
    }
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
