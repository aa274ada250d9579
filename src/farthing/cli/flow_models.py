"""The models that a flow's commands use: of the gateway that runs on this folder, else of one in this process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from farthing.core.private import Private
from farthing.flows.models import GatewayModels, Models

if TYPE_CHECKING:
    from farthing.flows.prompts.fetch import ImageFetcher
    from farthing.gateway.client import Gateway


@asynccontextmanager
async def flow_models(
    config_file: Path | None, *, url: str | None = None, key: Private | None = None, tag: str = ""
) -> AsyncIterator[Models]:
    """Models to run flows with, for the block. tag: what their calls are booked under.

    url: ask this gateway. Without: the one that serves on this folder's database if there is one, else one
    in this process. Raises ConfigError, StorageError.
    """
    from farthing.base.config.loader import load
    from farthing.cli.answer import COMMAND_LINE
    from farthing.cli.running import running_gateway
    from farthing.core.errors import StorageLockedError
    from farthing.flows.remote import RemoteModels
    from farthing.gateway.client import open_gateway
    from farthing.providers.detect import detect

    if url is not None:
        async with RemoteModels(url, key) as models:
            yield models
        return
    settings = load(config_file, os.environ).settings
    os.umask(0o077)  # a database that is made now is for this user only
    found = await detect(os.environ) if settings.server.detect else ()
    async with AsyncExitStack() as stack:
        try:
            here = open_gateway(settings, environ=os.environ, detected=found)
            gateway = await stack.enter_async_context(here)
        except StorageLockedError:
            served = running_gateway(settings)
            if served is not None:
                yield await stack.enter_async_context(RemoteModels(served, key))
                return
            # Another command owns the database, and it cannot be asked: both use it side by side.
            beside = open_gateway(settings, environ=os.environ, detected=found, exclusive=False)
            gateway = await stack.enter_async_context(beside)
        yield GatewayModels(gateway, COMMAND_LINE, tags=(tag,) if tag else ())


@asynccontextmanager
async def gateway_here(config_file: Path | None) -> AsyncIterator[Gateway]:
    """A gateway in this process, beside whatever else uses the database. Raises ConfigError, StorageError."""
    from farthing.base.config.loader import load
    from farthing.gateway.client import open_gateway
    from farthing.providers.detect import detect

    settings = load(config_file, os.environ).settings
    found = await detect(os.environ) if settings.server.detect else ()
    async with open_gateway(
        settings, environ=os.environ, detected=found, exclusive=False
    ) as gateway:
        yield gateway


def image_fetcher(config_file: Path | None) -> ImageFetcher:
    """What fetches images that inputs give by their addresses, by the settings' rules. Raises ConfigError."""
    from farthing.base.config.loader import load
    from farthing.flows.prompts.fetch import ImageFetcher

    return ImageFetcher(load(config_file, os.environ).settings.images, environ=os.environ)
