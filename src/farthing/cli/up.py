"""`farthing up`: start the gateway, say what it found, and what to type next."""

from __future__ import annotations

import os
from pathlib import Path

import click


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
@click.option(
    "--workers",
    type=click.IntRange(1, 512),
    help="Processes that serve behind the one port; one for each core is right.",
)
@click.option("--worker", "seat", hidden=True, help="SLOT:LISTENER:CHANNEL, from the supervisor.")
@click.option("--json", "as_json", is_flag=True, help="Say what was started as one line of JSON.")
def up(
    host: str | None,
    port: int | None,
    config_file: Path | None,
    no_detect: bool,
    workers: int | None,
    seat: str | None,
    as_json: bool,
) -> None:
    """Start the gateway. It runs until Ctrl-C; SIGHUP reads the settings again."""
    from farthing.base.config.loader import load
    from farthing.base.runtime import run
    from farthing.base.telemetry.logs import configure_logging
    from farthing.cli.serving import serve_here, supervise, work

    overrides: dict[str, object] = {}
    if host is not None:
        overrides["server.host"] = host
    if port is not None:
        overrides["server.port"] = port
    if no_detect:
        overrides["server.detect"] = False
    if workers is not None:
        overrides["server.workers"] = workers
    loaded = load(config_file, os.environ, overrides)
    os.umask(0o077)  # what is written from here on (the database) is for this user only
    _leave_no_core()
    configure_logging(loaded.settings.telemetry.log_level)
    if seat is not None:
        run(work(loaded, overrides, seat))
    elif loaded.settings.server.workers > 1:
        run(supervise(loaded, _repeated(host, port, config_file, no_detect), as_json=as_json))
    else:
        run(serve_here(loaded, overrides, as_json=as_json))


def _repeated(
    host: str | None, port: int | None, config_file: Path | None, no_detect: bool
) -> list[str]:
    """The options again, for the workers."""
    given = {"--host": host, "--port": port, "--config": config_file}
    options = [part for name, value in given.items() if value is not None for part in (name, value)]
    return [str(part) for part in options] + ["--no-detect"] * no_detect


def _leave_no_core() -> None:
    """No core file when the process crashes: memory holds prompts and keys. Windows writes none."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
