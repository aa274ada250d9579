"""The processes of `farthing up`: one that serves, or a supervisor with workers that do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from farthing.accounts.accounts import Accounts
from farthing.base.clock import SystemClock
from farthing.base.config.watch import ConfigWatcher
from farthing.base.storage import connect
from farthing.base.telemetry.access_log import AccessLog
from farthing.base.telemetry.behind import Behind
from farthing.cli.banner import Started, say, say_json
from farthing.cli.running import announced
from farthing.gateway.client import Gateway, open_gateway
from farthing.providers.catalogue import Catalogue
from farthing.providers.detect import Detected, detect
from farthing.providers.directory import build_directory
from farthing.server.listener import listen, url_of
from farthing.server.serve import refuse_exposure, serve
from farthing.server.worker import Supervised
from farthing.server.workers import Supervisor

if TYPE_CHECKING:
    from farthing.base.config.loader import Loaded
    from farthing.base.config.settings import Settings
    from farthing.core.protocols import CallSink


async def serve_here(loaded: Loaded, overrides: dict[str, object], *, as_json: bool) -> None:
    """One process that listens, serves and says so."""
    settings = loaded.settings
    with listen(settings.server) as listener:
        async with _gateway(loaded, overrides, exclusive=True) as (gateway, watcher, found):
            needs_key = await _needs_key(settings, gateway.accounts)

            def ready(url: str) -> None:
                directory = gateway.directory
                _tell(Started(url, loaded, directory, found, needs_key=needs_key), as_json=as_json)

            with announced(settings, url_of(listener, settings.server)):
                await serve(gateway, listener, reload=watcher.reload, ready=ready)


async def work(loaded: Loaded, overrides: dict[str, object], seat: str) -> None:
    """A worker. seat: `SLOT:LISTENER:CHANNEL`, the descriptors being inherited from the supervisor."""
    _, listening, channel = (int(part) for part in seat.split(":"))
    with socket.socket(fileno=listening) as listener:
        async with _gateway(loaded, overrides, exclusive=False) as (gateway, watcher, _):
            clock, metrics = SystemClock(), gateway.metrics
            supervised = Supervised(socket.socket(fileno=channel), metrics, clock, _end_this)
            await supervised.connect()
            talking = asyncio.create_task(supervised.run())
            try:
                await serve(
                    gateway,
                    listener,
                    reload=watcher.reload,
                    ready=lambda url: supervised.ready(),
                    others=supervised.others,
                )
            finally:
                talking.cancel()


async def supervise(loaded: Loaded, options: Sequence[str], *, as_json: bool) -> None:
    """The workers' supervisor. options: those of the command line, for the workers."""
    settings = loaded.settings
    async with AsyncExitStack() as stack:
        listeners = stack.enter_context(_listeners(settings))
        accounts = await stack.enter_async_context(_owning(settings))
        await refuse_exposure(accounts, listeners[0])
        url = url_of(listeners[0], settings.server)

        def command(slot: int, listener: int, channel: int) -> list[str]:
            program = [sys.executable, "-m", "farthing", "up", *options]
            return [*program, "--worker", f"{slot}:{listener}:{channel}"]

        async def recover() -> None:
            await accounts.recover()

        supervisor = Supervisor(
            listeners, command, SystemClock(), grace_s=settings.server.grace_s, died=recover
        )
        stopping = asyncio.Event()
        stack.enter_context(_signals(supervisor, stopping))
        await supervisor.start()
        stack.enter_context(announced(settings, url))
        needs_key = await _needs_key(settings, accounts)
        found = await detect(os.environ) if settings.server.detect else ()
        directory = build_directory(
            settings,
            catalogue=Catalogue.load(),
            clock=SystemClock(),
            environ=os.environ,
            detected=found,
        )
        pids = supervisor.pids
        _tell(
            Started(url, loaded, directory, found, needs_key=needs_key, workers=pids),
            as_json=as_json,
        )
        await stopping.wait()
        await supervisor.stop()


@asynccontextmanager
async def _gateway(
    loaded: Loaded, overrides: dict[str, object], *, exclusive: bool
) -> AsyncIterator[tuple[Gateway, ConfigWatcher, Sequence[Detected]]]:
    """A gateway with its sinks, whose settings file is watched."""
    settings = loaded.settings
    async with AsyncExitStack() as stack:
        found = await detect(os.environ) if settings.server.detect else ()
        sinks: list[CallSink] = []
        if settings.telemetry.access_log:
            log = Behind(AccessLog())  # a terminal that stands still must delay no call
            stack.callback(log.close)
            sinks.append(log)
        if settings.telemetry.otlp_endpoint is not None:
            sinks.append(await stack.enter_async_context(_exporting(settings)))
        gateway = await stack.enter_async_context(
            open_gateway(
                settings, environ=os.environ, detected=found, sinks=sinks, exclusive=exclusive
            )
        )
        watcher = ConfigWatcher(
            loaded,
            os.environ,
            gateway.reload,
            SystemClock(),
            overrides=overrides,
            on_reload=lambda reload: gateway.metrics.count_config_reload(
                is_ok=reload.error is None
            ),
        )
        watch = asyncio.create_task(watcher.run())
        stack.callback(watch.cancel)
        yield gateway, watcher, found


@asynccontextmanager
async def _exporting(settings: Settings) -> AsyncIterator[CallSink]:
    """The OpenTelemetry sink; what is queued at the end is sent."""
    from farthing.base.telemetry.otel import open_otel

    sink = open_otel(settings, os.environ)
    assert sink is not None, "there is an endpoint"
    sink.serve_process()
    try:
        yield sink
    finally:
        await sink.aclose()


@asynccontextmanager
async def _owning(settings: Settings) -> AsyncIterator[Accounts]:
    """The accounts in the supervisor: it holds the database's lock and recovers what workers leave open."""
    database = connect(settings.storage, durability=settings.ledger.durability, exclusive=True)
    await database.open()
    try:
        accounts = Accounts(database, settings, clock=SystemClock(), environ=os.environ)
        await accounts.open(recover=False)
        await accounts.recover()
        try:
            yield accounts
        finally:
            await accounts.aclose()
    finally:
        await database.close()


@contextmanager
def _listeners(settings: Settings) -> Iterator[list[socket.socket]]:
    """One listening socket for each worker, all at the same address."""
    server = settings.server
    sockets = [listen(server, reuse_port=True)]
    try:
        port = sockets[0].getsockname()[1]
        while len(sockets) < server.workers:
            sockets.append(listen(server, reuse_port=True, port=port))
        yield sockets
    finally:
        for each in sockets:
            each.close()


@contextmanager
def _signals(supervisor: Supervisor, stopping: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT end it (a second one at once), SIGHUP reloads, SIGUSR2 restarts the workers in turn."""
    loop = asyncio.get_running_loop()
    restarts: set[asyncio.Task[None]] = set()

    def stop() -> None:
        if stopping.is_set():
            supervisor.hurry()
        stopping.set()

    def restart() -> None:
        task = asyncio.create_task(supervisor.restart())
        restarts.add(task)
        task.add_done_callback(restarts.discard)

    handlers: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: supervisor.reload,
        signal.SIGUSR2: restart,
    }
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


async def _needs_key(settings: Settings, accounts: Accounts) -> bool:
    required = settings.server.require_keys
    return await accounts.has_keys() if required is None else required


def _tell(started: Started, *, as_json: bool) -> None:
    (say_json if as_json else say)(started)


def _end_this() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
