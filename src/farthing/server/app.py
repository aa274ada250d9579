"""The application: finds the face and operation of a request, answers faults in the face's form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from farthing.base.config.watch import Reload
from farthing.core.errors import FarthingError, OverloadedError, RequestError
from farthing.gateway.client import Gateway
from farthing.server import cors
from farthing.server.faces import admin, anthropic, azure, control, flows, google, openai
from farthing.server.faces.face import (
    Desk,
    Face,
    Others,
    Visit,
    internal_error,
    no_others,
    send_error,
)
from farthing.server.flowshelf import Shelf
from farthing.server.paths import MethodNotAllowedError, Paths
from farthing.wire.edge.answers import Header
from farthing.wire.edge.exchange import Exchange
from farthing.wire.edge.refusal import ClientGoneError

_log = logging.getLogger("farthing.server")

#: The faces, in the order in which shared paths are offered to them.
FACES = (
    azure.FACE,
    anthropic.FACE,
    google.FACE,
    openai.FACE,
    flows.FACE,
    admin.FACE,
    control.FACE,
)


class App:
    """The application over one gateway. `drain`, `idle` and `cancel_calls` serve a graceful end."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        reload: Callable[[], Awaitable[Reload]] | None = None,
        others: Others = no_others,
        faces: tuple[Face, ...] = FACES,
        shelf: Shelf | None = None,
    ) -> None:
        """shelf: the flows to serve; unset: those of the settings."""
        self._shelf = shelf or Shelf(gateway)
        self._desk = Desk(gateway, reload=reload, others=others, flows=self._shelf)
        self._paths = Paths(faces)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> int:
        """Requests to model faces that are being answered."""
        return len(self._tasks)

    async def idle(self) -> None:
        """Wait until no call is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def drain(self) -> None:
        """Not ready from now on: new calls get 503, those under way go on."""
        self._desk.is_draining = True
        self._desk.gateway.drain()

    def cancel_calls(self) -> None:
        """End the calls under way; each settles, and its client sees a cut connection or a 503."""
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Let go of what was opened to answer. Idempotent."""
        await self._shelf.aclose()

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request; one left unfinished is told to its client by a cut connection."""
        settings = self._desk.gateway.settings.server
        if settings.cors_origins:
            exchange.extra_headers = cors.cors_headers(exchange, settings)
        visit: Visit | None = None
        task = exchange.task
        assert task is not None
        try:
            if exchange.method == "OPTIONS":
                await self._answer_options(exchange)
                return
            found = self._paths.find(exchange)
            visit = Visit(self._desk, found.face, exchange, found.parameters)
            if not found.face.is_control:
                self._tasks.add(task)
            await found.operation.handle(visit)
        except ClientGoneError:
            return
        except asyncio.CancelledError:
            if not exchange.is_gone:  # else it was cancelled because its client has left
                await self._refuse(exchange, visit, _shut_down())
        except FarthingError as error:
            await self._refuse(exchange, visit, error)
        except RecursionError:
            await self._refuse(exchange, visit, _too_deep())
        # Border: request handler. A caller gets a 500, never a stack trace.
        except Exception as error:
            await self._refuse(exchange, visit, internal_error(error))
        finally:
            self._tasks.discard(task)

    async def _refuse(self, exchange: Exchange, visit: Visit | None, error: FarthingError) -> None:
        if exchange.is_started:
            # Half an answer is out: leaving it unfinished makes the server cut the connection, which no
            # client can take for a complete answer.
            return
        headers: tuple[Header, ...] = ()
        if isinstance(error, MethodNotAllowedError):
            headers = ((b"allow", ", ".join(error.allowed).encode("ascii")),)
        if visit is None:  # nothing was found that answers it
            visit = Visit(self._desk, self._paths.face_for(exchange), exchange, {})
        try:
            await send_error(visit, error, headers)
        except ClientGoneError:
            return

    async def _answer_options(self, exchange: Exchange) -> None:
        headers = [(b"allow", b"GET, HEAD, POST, OPTIONS")]
        if exchange.extra_headers:
            headers += cors.preflight_headers(exchange)
        await exchange.send_empty(204, headers)


def _shut_down() -> FarthingError:
    return OverloadedError(
        "This gateway is shutting down.", hint="Send the call again.", retry_after_s=1.0
    )


def _too_deep() -> FarthingError:
    return RequestError("The body is nested too deeply.", hint="Flatten it, or send it as text.")
