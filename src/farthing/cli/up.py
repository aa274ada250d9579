"""`farthing up`: start the gateway, say what it found, and what to type next."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from farthing.base.config.loader import Loaded
    from farthing.base.config.settings import Settings
    from farthing.core.protocols import CallSink
    from farthing.gateway.client import Gateway
    from farthing.providers.detect import Detected


@click.command()
@click.option("--host", help="Address to listen on; anything but loopback needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 picks a free one.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file, instead of farthing.toml in this folder.",
)
@click.option(
    "--no-detect", is_flag=True, help="Do not look for keys in the environment and local servers."
)
@click.option("--json", "as_json", is_flag=True, help="Say what was started as one line of JSON.")
def up(
    host: str | None, port: int | None, config_file: Path | None, no_detect: bool, as_json: bool
) -> None:
    """Start the gateway. It runs until Ctrl-C; SIGHUP reads the settings again."""
    from farthing.base.config.loader import load
    from farthing.server.serve import run

    overrides: dict[str, object] = {}
    if host is not None:
        overrides["server.host"] = host
    if port is not None:
        overrides["server.port"] = port
    if no_detect:
        overrides["server.detect"] = False
    loaded = load(config_file, os.environ, overrides)
    os.umask(0o077)  # what is written from here on (the database) is for this user only
    _leave_no_core()
    run(_up(loaded, overrides, as_json=as_json))


def _leave_no_core() -> None:
    """No core file when the process crashes: memory holds prompts and keys. Windows writes none."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


async def _up(loaded: Loaded, overrides: dict[str, object], *, as_json: bool) -> None:
    from farthing.base.clock import SystemClock
    from farthing.base.config.watch import ConfigWatcher
    from farthing.base.telemetry.access_log import AccessLog
    from farthing.base.telemetry.logs import configure_logging
    from farthing.cli.running import announced
    from farthing.gateway.client import open_gateway
    from farthing.providers.detect import detect
    from farthing.server.listener import listen, url_of
    from farthing.server.serve import serve

    settings = loaded.settings
    configure_logging(settings.telemetry.log_level)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings.server))
        found = await detect(os.environ) if settings.server.detect else ()
        sinks: list[CallSink] = [AccessLog()] if settings.telemetry.access_log else []
        if settings.telemetry.otlp_endpoint is not None:
            sinks.append(await stack.enter_async_context(_exporting(settings)))
        gateway = await stack.enter_async_context(
            open_gateway(settings, environ=os.environ, detected=found, sinks=sinks)
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
        needs_key = settings.server.require_keys
        if needs_key is None:
            needs_key = await gateway.accounts.has_keys()

        def ready(url: str) -> None:
            say = _say_json if as_json else _say
            say(url, loaded, gateway, found, needs_key)

        stack.enter_context(announced(settings, url_of(listener, settings.server)))
        await serve(gateway, listener, reload=watcher.reload, ready=ready)


@asynccontextmanager
async def _exporting(settings: Settings) -> AsyncIterator[CallSink]:
    """The OpenTelemetry sink; what is queued at the end is sent."""
    from farthing.base.telemetry.otel import open_otel

    sink = open_otel(settings, os.environ)
    assert sink is not None, "there is an endpoint"
    try:
        yield sink
    finally:
        await sink.aclose()


def _say_json(
    url: str, loaded: Loaded, gateway: Gateway, found: Sequence[Detected], needs_key: bool
) -> None:
    import msgspec

    simulated = [d.name for d in gateway.directory.deployments.values() if d.is_simulated]
    document = {
        "url": url,
        "pid": os.getpid(),
        "data": _data(loaded),
        "settings": str(loaded.path) if loaded.path else None,
        "found": found,
        "simulated": simulated,
        "needs_key": needs_key,
        "warnings": loaded.warnings,
    }
    click.echo(msgspec.json.encode(document))


def _say(
    url: str, loaded: Loaded, gateway: Gateway, found: Sequence[Detected], needs_key: bool
) -> None:
    from farthing import __version__
    from farthing.cli.example import example_model

    settings = loaded.settings
    click.secho(f"farthing {__version__} listens on {url}", bold=True)
    rows = [
        ("settings", str(loaded.path) if loaded.path else "defaults (no farthing.toml here)"),
        ("data", _data(loaded)),
        ("privacy", _privacy(loaded)),
        ("callers", "need a key" if needs_key else "this machine only, without a key"),
    ]
    names = [_configured(name, table.type) for name, table in settings.providers.items()]
    names += [_detected(entry) for entry in found]
    rows.append(("providers", "; ".join(names) or "none found"))
    simulated = [d.name for d in gateway.directory.deployments.values() if d.is_simulated]
    for label, text in rows:
        click.echo(f"  {label:<10} {text}")
    if simulated:
        click.secho(
            f"  simulated  {_listing(simulated)}: these answers and costs are not real",
            fg="yellow",
        )
    for warning in loaded.warnings:
        click.secho(f"  warning    {warning}", fg="yellow")
    click.echo("\nNext:")
    for command in _commands(url, example_model(gateway.directory), needs_key):
        click.echo(f"  {command}")


def _commands(url: str, model: str, needs_key: bool) -> tuple[str, str, str]:
    key = ' -H "authorization: Bearer $FARTHING_KEY"' if needs_key else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    variables = (
        f"OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={'$FARTHING_KEY' if needs_key else 'none'}"
    )
    return (
        f"curl {url}/v1/chat/completions -H 'content-type: application/json'{key} -d '{body}'",
        f'{variables} python -c "from openai import OpenAI; '
        f"print(OpenAI().responses.create(model='{model}', input='Hello').output_text)\"",
        "farthing spend",
    )


def _data(loaded: Loaded) -> str:
    kind, _, rest = loaded.settings.storage.url.partition(":")
    if kind == "sqlite":
        return str(Path(rest).absolute())
    return "Postgres at " + rest.rpartition("@")[2].lstrip("/")


def _privacy(loaded: Loaded) -> str:
    endpoint = loaded.settings.telemetry.otlp_endpoint
    sent = "No telemetry is sent."
    if endpoint is not None:
        sent = f"Traces and metrics go to {endpoint} (telemetry.otlp_endpoint), without text."
    return f"No prompt text is stored. {sent}"


def _configured(name: str, kind: str) -> str:
    return f"{name} (settings)" if name == kind else f"{name} ({kind}, settings)"


def _detected(entry: Detected) -> str:
    if entry.variable is not None:
        return f"{entry.title} ({entry.variable})"
    count = len(entry.models or ())
    return f"{entry.title} ({entry.base_url}, {count} model{'' if count == 1 else 's'})"


def _listing(names: Sequence[str], limit: int = 6) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
