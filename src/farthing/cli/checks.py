"""The checks of `farthing doctor`: each finds one thing and says what to do about it."""

from __future__ import annotations

import asyncio
import os
import platform
import stat
import sys
from collections.abc import Awaitable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import msgspec

from farthing.base.clock import SystemClock
from farthing.base.config.loader import Examination, examination
from farthing.base.config.settings import Settings
from farthing.core.errors import ConfigError, FarthingError, StorageError, StorageLockedError
from farthing.providers.catalogue import Catalogue
from farthing.providers.detect import detect
from farthing.providers.directory import build_directory

Level = Literal["ok", "warn", "fail"]

#: Vendors change prices every few weeks; older price data is likely wrong somewhere.
PRICES_OLD_DAYS = 60
#: No clock that is right shows a time before this release was made.
RELEASED = date(2026, 11, 1)
ONLINE_TIMEOUT_S = 10.0


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the doctor's report. advice: what to do, for warnings and failures."""

    subject: str
    level: Level
    text: str
    advice: str = ""


async def examine(
    config_file: Path | None, environ: Mapping[str, str], *, online: bool
) -> list[Finding]:
    """All checks, in the order in which problems would show. online: also ask the providers."""
    examined = examination(config_file, environ)
    findings = [check_python(), check_platform(), check_clock(), *check_settings(examined)]
    if examined.loaded is None:
        return findings
    settings = examined.loaded.settings
    findings += check_permissions(examined.loaded.path, settings)
    findings.append(await check_database(settings))
    findings += await check_providers(settings, environ, online=online)
    findings += [check_prices(), await check_port(settings)]
    return findings


def check_python() -> Finding:
    """The interpreter is one that this release is tested with."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Finding(subject="python", level="ok", text=version)
    return Finding(
        subject="python",
        level="warn",
        text=f"{version} is not one of the tested versions.",
        advice="Use Python 3.11 to 3.14.",
    )


def check_platform() -> Finding:
    """The operating system is supported, and the quick event loop is there."""
    name = f"{platform.system()} {platform.machine()}"
    if sys.platform not in ("linux", "darwin"):
        return Finding(
            subject="platform",
            level="fail",
            text=f"{name} is not supported.",
            advice="Use Linux or macOS; on Windows, WSL.",
        )
    from importlib.util import find_spec

    if find_spec("uvloop") is None:
        return Finding(
            subject="platform",
            level="warn",
            text=f"{name}, without uvloop: the gateway is slower.",
            advice="pip install uvloop",
        )
    return Finding(subject="platform", level="ok", text=name)


def check_clock() -> Finding:
    """Budgets, key expiry and TLS depend on the time of day."""
    now = datetime.fromtimestamp(SystemClock().now(), tz=UTC)
    if now.date() >= RELEASED:
        return Finding(subject="clock", level="ok", text=now.strftime("%Y-%m-%d %H:%M UTC"))
    return Finding(
        subject="clock",
        level="fail",
        text=f"It shows {now:%Y-%m-%d}, which is before this release was made.",
        advice="Set the clock; with systemd: timedatectl set-ntp true",
    )


def check_settings(examined: Examination) -> list[Finding]:
    """Every mistake in the settings, or where they come from, and the loader's warnings."""
    if examined.loaded is None:
        return [
            Finding(subject="settings", level="fail", text=_located(error), advice=error.hint or "")
            for error in examined.mistakes
        ]
    path = examined.loaded.path
    text = str(path) if path else "defaults; there is no farthing.toml here"
    warnings = [
        Finding(subject="settings", level="warn", text=warning)
        for warning in examined.loaded.warnings
    ]
    return [Finding(subject="settings", level="ok", text=text), *warnings]


def check_permissions(path: Path | None, settings: Settings) -> list[Finding]:
    """Files with secrets are readable by their owner only."""
    findings = []
    holds_key = any(
        table.key and not table.key.startswith(("env:", "file:"))
        for table in settings.providers.values()
    )
    if path is not None and holds_key and _is_readable_by_others(path):
        findings.append(_too_open(path, "holds a provider's key"))
    for table in settings.providers.values():
        if table.key and table.key.startswith("file:"):
            secret = Path(table.key.removeprefix("file:"))
            if secret.is_file() and _is_readable_by_others(secret):
                findings.append(_too_open(secret, "is a provider's key"))
    database = _sqlite_file(settings)
    if database is not None and database.exists() and _is_readable_by_others(database):
        findings.append(_too_open(database, "holds keys' hashes and what was spent"))
    return findings or [
        Finding(subject="files", level="ok", text="none that holds a secret is open to others")
    ]


async def check_database(settings: Settings) -> Finding:
    """It can be opened and written, and is of a version that this release reads."""
    from farthing.base.storage import connect

    file = _sqlite_file(settings)
    if file is not None and not file.exists():
        folder = next(parent for parent in file.absolute().parents if parent.exists())
        if _is_writable(folder):
            return Finding(subject="database", level="ok", text=f"{file} will be made at the start")
        return Finding(
            subject="database",
            level="fail",
            text=f"{file} does not exist, and the folder {folder} cannot be written.",
            advice="Change the folder's permissions, or storage.url.",
        )
    database = connect(settings.storage, durability=settings.ledger.durability, exclusive=False)
    try:
        await database.open()
        await database.close()
    except StorageLockedError:
        return Finding(subject="database", level="ok", text="in use by a running gateway")
    except StorageError as error:
        return Finding(
            subject="database", level="fail", text=error.message, advice=error.hint or ""
        )
    return Finding(subject="database", level="ok", text=str(file or "Postgres"))


async def check_providers(
    settings: Settings, environ: Mapping[str, str], *, online: bool
) -> list[Finding]:
    """What is configured and what was found; with `online`, whether each answers."""
    found = await detect(environ) if settings.server.detect else ()
    try:
        directory = build_directory(
            settings,
            catalogue=Catalogue.load(),
            clock=SystemClock(),
            environ=environ,
            detected=found,
        )
    except ConfigError as error:
        return [Finding(subject="providers", level="fail", text=_located(error))]
    findings = [
        Finding(
            subject="providers",
            level="ok",
            text=f"{entry.title}: {entry.variable or entry.base_url}",
        )
        for entry in found
    ]
    findings += [
        Finding(subject="providers", level="ok", text=f"{name}: in the settings ({table.type})")
        for name, table in settings.providers.items()
    ]
    if not findings:
        findings.append(
            Finding(
                subject="providers",
                level="warn",
                text="None is configured, no key is in the environment, no local server answers.",
                advice="Only simulated answers are served. Set e.g. OPENAI_API_KEY, or start Ollama.",
            )
        )
    try:
        if online:
            names = list(directory.providers)
            asked = (_ask_models(name, directory.providers[name].models()) for name in names)
            findings += await asyncio.gather(*asked)
    finally:
        await directory.aclose()
    return findings


def check_prices() -> Finding:
    """The price data is recent."""
    dates = [model.date or "" for model in Catalogue.load().models()]
    newest = max((d for d in dates if d), default="")
    if not newest:
        return Finding(subject="prices", level="warn", text="The price data carries no date.")
    today = datetime.fromtimestamp(SystemClock().now(), tz=UTC).date()
    age = (today - date.fromisoformat(newest[:10])).days
    if age <= PRICES_OLD_DAYS:
        return Finding(subject="prices", level="ok", text=f"{len(dates):,} models, as of {newest}")
    return Finding(
        subject="prices",
        level="warn",
        text=f"The newest figure is {age} days old ({newest}).",
        advice="pip install --upgrade genai-prices, or state your own: farthing prices import",
    )


async def check_port(settings: Settings) -> Finding:
    """The port is free, or a gateway is what uses it."""
    from farthing.server.listener import listen

    server = settings.server
    try:
        listen(server).close()
    except ConfigError as error:
        if await _is_gateway(server.host, server.port):
            return Finding(
                subject="port", level="ok", text=f"{server.port}: a gateway is running there"
            )
        return Finding(subject="port", level="fail", text=error.message, advice=error.hint or "")
    return Finding(subject="port", level="ok", text=f"{server.port} is free")


async def _ask_models(name: str, question: Awaitable[tuple[str, ...]]) -> Finding:
    subject = "providers"
    try:
        async with asyncio.timeout(ONLINE_TIMEOUT_S):
            models = await question
    except FarthingError as error:
        return Finding(
            subject=subject, level="fail", text=f"{name}: {error.message}", advice=error.hint or ""
        )
    except TimeoutError:
        text = f"{name}: no answer within {ONLINE_TIMEOUT_S:.0f} seconds."
        return Finding(
            subject=subject, level="fail", text=text, advice="Check the network and base_url."
        )
    return Finding(subject=subject, level="ok", text=f"{name}: answers, {len(models)} models")


async def _is_gateway(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = await reader.read(4096)
            writer.close()
    except (OSError, TimeoutError):
        return False
    return b'"name":"farthing"' in answer


def _located(error: ConfigError) -> str:
    place = ":".join(str(p) for p in (error.path, error.line, error.column) if p is not None)
    return f"{place}: {error.message}" if place else error.message


def _sqlite_file(settings: Settings) -> Path | None:
    kind, _, rest = settings.storage.url.partition(":")
    return Path(rest) if kind == "sqlite" else None


def _is_readable_by_others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _too_open(path: Path, why: str) -> Finding:
    return Finding(
        subject="files",
        level="warn",
        text=f"{path} {why}, and other users can read it.",
        advice=f"chmod 600 {path}",
    )
