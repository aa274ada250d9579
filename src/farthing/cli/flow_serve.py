"""Serves one flow on a port of its own, as `pf flow serve` does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from farthing.cli.output import note

if TYPE_CHECKING:
    from farthing.base.clock import Clock
    from farthing.cli.flow_test import Trial
    from farthing.flows.models import Models
    from farthing.flows.runnable import Runnable


async def serve_trial(trial: Trial, *, host: str, port: int) -> None:
    """Serve the flow until it is interrupted. Raises FlowError, ConfigError for a port that is taken."""
    from farthing.cli.flow_models import gateway_here, image_fetcher
    from farthing.flows.jobs import inside, project_connections
    from farthing.flows.open import folder_at, open_flow
    from farthing.server.flowserver import serve_flow

    connections, images = project_connections(), image_fetcher(trial.config)

    async def opener(path: Path, models: Models, clock: Clock) -> Runnable:
        return open_flow(
            path,
            models=models,
            connections=connections,
            clock=clock,
            variant=trial.variant,
            init=dict(trial.init),
            environment=trial.environment,
            is_streaming=True,
            images=images,
        )

    def ready(url: str) -> None:
        note(
            f"{trial.path} is served at {url}: a chat page there, POST {url}/score. Ctrl-C ends it."
        )

    os.umask(0o077)
    async with gateway_here(trial.config) as gateway:
        # On this machine alone nobody needs a key, as with the original.
        is_local = host in ("localhost", "127.0.0.1", "::1")
        address = "127.0.0.1" if host == "localhost" else host
        path = trial.path.absolute()
        with inside(folder_at(path)):
            await serve_flow(
                path,
                address,
                port,
                gateway=gateway,
                opener=opener,
                is_open=is_local,
                ready=ready,
            )
