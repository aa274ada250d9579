"""The flows that a server has open: those of the settings, each opened when it is first asked for, or one."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from farthing.base.clock import Clock
from farthing.base.telemetry.logs import describe_exception
from farthing.core.errors import FarthingError, FlowError, NotFoundError, did_you_mean
from farthing.gateway.client import Gateway

if TYPE_CHECKING:
    from farthing.flows.models import Models
    from farthing.flows.runnable import Runnable
    from farthing.flows.serving.served import ServedFlow

_log = logging.getLogger("farthing.server")

#: Opens the flow at a path, its model calls through these models.
Opener: TypeAlias = "Callable[[Path, Models, Clock], Awaitable[Runnable]]"


class FlowUnavailableError(FlowError):
    """A flow of the settings cannot be opened. The caller can do nothing about it."""

    code = "flow_unavailable"
    status = 500


def from_disk(gateway: Gateway) -> Opener:
    """Opens what is in a folder or file: the project's connections, the gateway's rules for images."""

    async def opener(path: Path, models: Models, clock: Clock) -> Runnable:
        from farthing.flows.connections.connections import Connections
        from farthing.flows.open import open_flow
        from farthing.flows.prompts.fetch import ImageFetcher

        def work() -> Runnable:
            return open_flow(
                path,
                models=models,
                connections=Connections(Path()),
                clock=clock,
                is_streaming=True,
                images=ImageFetcher(gateway.settings.images, environ=os.environ),
            )

        # Its Python files are imported, which may take seconds: other requests go on meanwhile.
        return await asyncio.to_thread(work)

    return opener


class Shelf:
    """Keeps flows open between requests. Safe for any number of requests at once.

    opener: `from_disk` by default. only: the flow that is served alone, by no name. is_open: whoever
    reaches the port may ask, without a key; the operator said so.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        opener: Opener | None = None,
        only: ServedFlow | None = None,
        is_open: bool = False,
    ) -> None:
        self.is_open = is_open
        self._gateway = gateway
        self._opener = opener or from_disk(gateway)
        self._only = only
        self._flows: dict[tuple[str, str], ServedFlow] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    def names(self) -> list[str]:
        """The flows of the settings, sorted."""
        return sorted(self._gateway.settings.flows)

    async def get(self, name: str | None) -> ServedFlow:
        """The flow of that name, open; None: the only one. Raises NotFoundError, FlowUnavailableError."""
        if name is None:
            assert self._only is not None, "a server of one flow has it"
            return self._only
        setting = self._gateway.settings.flows.get(name)
        if setting is None:
            raise NotFoundError(
                f"There is no flow '{name[:64]}' here.",
                hint=did_you_mean(name, self.names()) or "GET /flows lists those that there are.",
            )
        # By its path too: after a reload that changed it the name means another flow.
        key = (name, setting.path)
        async with self._opening.setdefault(name, asyncio.Lock()):
            if key not in self._flows:
                self._flows[key] = await self._open(name, setting.path)
        return self._flows[key]

    async def aclose(self) -> None:
        """Close them all. Idempotent."""
        flows = [*self._flows.values()]
        if self._only is not None:
            flows.append(self._only)
        self._flows.clear()
        for flow in flows:
            try:
                await flow.aclose()
            except Exception as error:  # border: a user's flow; the others are closed all the same
                _log.warning("A flow cannot be closed.\n%s", describe_exception(error))

    async def _open(self, name: str, path: str) -> ServedFlow:
        from farthing.flows.serving.asking import CallersModels

        try:
            models = CallersModels()
            return await open_served(Path(path), self._opener, models, self._gateway.clock)
        except FarthingError as error:
            _log.error("The flow '%s' cannot be opened. %s", name, error)
        except Exception as error:  # border: a user's files
            _log.error("The flow '%s' cannot be opened.\n%s", name, describe_exception(error))
        raise FlowUnavailableError(
            f"The flow '{name}' cannot be opened.", hint="The server's log says why."
        )


async def open_served(path: Path, opener: Opener, models: Models, clock: Clock) -> ServedFlow:
    """A flow ready to answer. Raises FlowError."""
    from farthing.flows.serving.served import ServedFlow

    runnable = await opener(path, models, clock)
    try:
        return ServedFlow(runnable, os.environ)
    except FarthingError:
        await runnable.aclose()
        raise
