"""Reloads the settings when their file changes or when told to; keeps the old ones if the new are wrong."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from farthing.base.clock import Clock
from farthing.base.config.loader import Loaded, load
from farthing.base.config.settings import Settings
from farthing.core.errors import ConfigError, FarthingError

_LOG = logging.getLogger(__name__)
#: Seconds between two looks at the file.
POLL_S = 1.0
#: Settings that take effect at the next start only: sockets and the database are opened once.
NEEDS_RESTART = (
    "server.host",
    "server.port",
    "server.max_connections_per_address",
    "server.tls_cert",
    "server.tls_key",
    "server.workers",
    "storage",
    "telemetry.otlp_endpoint",
    "telemetry.otlp_headers",
)


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    """How one reload went. error None: `changed` (dotted names) is in force.

    not_applied: changed in the file, kept as they were until the next start.
    """

    changed: tuple[str, ...] = ()
    not_applied: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: FarthingError | None = None


class ConfigWatcher:
    """Watches the file that `loaded` came from.

    on_change: receives the new settings (those that need a restart as they were); it may refuse them by
    raising a FarthingError. on_reload: told of every reload, good or bad, for metrics. environ,
    overrides: as in `load`, so that environment and command line still win.
    """

    def __init__(
        self,
        loaded: Loaded,
        environ: Mapping[str, str],
        on_change: Callable[[Settings], Awaitable[None]],
        clock: Clock,
        *,
        overrides: Mapping[str, object] = {},
        on_reload: Callable[[Reload], None] = lambda reload: None,
    ) -> None:
        self.settings = loaded.settings
        self._path = loaded.path
        self._environ = environ
        self._overrides = overrides
        self._on_change = on_change
        self._on_reload = on_reload
        self._clock = clock
        self._mark = _mark(self._path)
        self._digest = _digest(self._path)
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Look at the file every second until cancelled."""
        while self._path is not None:
            await self._clock.sleep(POLL_S)
            mark = _mark(self._path)
            if mark == self._mark:
                continue
            digest = _digest(self._path)
            # An editor that saves the same text, or a touch, is no change; a file that is gone for a
            # moment (editors replace it) is read at the next look.
            if digest is None or digest == self._digest:
                self._mark = mark if digest is not None else self._mark
                continue
            await self.reload()

    async def reload(self) -> Reload:
        """Read the file now (SIGHUP comes here). Never raises for wrong settings; says so instead."""
        async with self._lock:
            self._mark, self._digest = _mark(self._path), _digest(self._path)
            outcome = await self._reload()
        if outcome.error is not None:
            _LOG.error("Settings not reloaded, the old ones stay in force. %s", outcome.error)
        else:
            _LOG.info("Settings reloaded; changed: %s.", ", ".join(outcome.changed) or "nothing")
        for name in outcome.not_applied:
            _LOG.warning("Setting %s changed; it takes effect at the next start.", name)
        for warning in outcome.warnings:
            _LOG.warning("%s", warning)
        self._on_reload(outcome)
        return outcome

    async def _reload(self) -> Reload:
        try:
            loaded = load(self._path, self._environ, self._overrides)
        except ConfigError as error:
            return Reload(error=error)
        wanted = loaded.settings
        not_applied = tuple(n for n in NEEDS_RESTART if _at(wanted, n) != _at(self.settings, n))
        merged = _keeping(wanted, self.settings, not_applied)
        changed = changes(self.settings, merged)
        if changed:
            try:
                await self._on_change(merged)
            except FarthingError as error:
                return Reload(error=error)
            self.settings = merged
        return Reload(changed=changed, not_applied=not_applied, warnings=loaded.warnings)


def changes(old: Settings, new: Settings) -> tuple[str, ...]:
    """The dotted names of settings that differ, as deep as sections and named tables go."""
    return tuple(_differences(old, new, ""))


def _differences(old: object, new: object, name: str) -> list[str]:
    if old == new:
        return []
    pairs: list[tuple[str, object, object]] = []
    if isinstance(old, msgspec.Struct) and type(old) is type(new):
        pairs = [
            (field, getattr(old, field), getattr(new, field)) for field in old.__struct_fields__
        ]
    elif isinstance(old, dict) and isinstance(new, dict):
        pairs = [(key, old.get(key), new.get(key)) for key in {**old, **new}]
    found: list[str] = []
    for key, before, after in pairs:
        found += _differences(before, after, f"{name}.{key}" if name else key)
    return found or [name]


def _keeping(wanted: Settings, current: Settings, names: tuple[str, ...]) -> Settings:
    """`wanted`, with the named settings as `current` has them."""
    for name in names:
        section, _, field = name.partition(".")
        kept = getattr(current, section)
        if field:
            inner = {field: getattr(kept, field)}
            kept = msgspec.structs.replace(getattr(wanted, section), **inner)
        wanted = msgspec.structs.replace(wanted, **{section: kept})
    return wanted


def _at(settings: Settings, name: str) -> object:
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _mark(path: Path | None) -> tuple[int, int, int] | None:
    try:
        stat = path.stat() if path is not None else None
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino) if stat is not None else None


def _digest(path: Path | None) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest() if path is not None else None
    except OSError:
        return None
