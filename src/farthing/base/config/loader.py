"""Finds, reads and checks the settings: file, then environment, then command line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from farthing.base.config.environment import overlay
from farthing.base.config.positions import KeyPath, Position, Positions
from farthing.base.config.references import examine
from farthing.base.config.schema import Mistake, dotted, find_mistakes
from farthing.base.config.settings import Settings
from farthing.core.errors import ConfigError

FILE_NAME = "farthing.toml"
#: Environment variable that names the file when it is not in the current folder.
FILE_VARIABLE = "FARTHING_CONFIG"

_SYNTAX = re.compile(r"^(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that passed every check.

    path: the file they came from, None without one. warnings: sentences for the operator. origins: for
    each dotted setting that was set, where: the file's path, `environment variable X`, `command line`.
    """

    settings: Settings
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    origins: Mapping[str, str] = {}


class Examination(msgspec.Struct, frozen=True):
    """Either settings, or every mistake that keeps them from being used."""

    loaded: Loaded | None
    mistakes: tuple[ConfigError, ...]


def load(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = {}
) -> Loaded:
    """The settings to run with.

    path None: `FARTHING_CONFIG`, else `farthing.toml` in the current folder, else defaults alone.
    overrides: dotted names to values, from the command line (`{"server.port": 0}`). Raises ConfigError,
    the first mistake in the order of the file, saying how many more there are.
    """
    examined = examination(path, environ, overrides)
    if examined.loaded is not None:
        return examined.loaded
    first, *others = examined.mistakes
    if others:
        count = "One more mistake" if len(others) == 1 else f"{len(others)} more mistakes"
        first.hint = " ".join(
            filter(None, [first.hint, f"({count}: see `farthing config check`.)"])
        )
    raise first


def check(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = {}
) -> list[ConfigError]:
    """Every mistake, in the order of the file; an empty list when the settings can be used."""
    return list(examination(path, environ, overrides).mistakes)


def examination(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = {}
) -> Examination:
    """What `load` and `check` are made of: read, overlay, check the types, then the references."""
    try:
        file = find_file(path, environ)
        text = _read(file) if file is not None else ""
        tree = _parse(text, file)
    except ConfigError as error:
        return Examination(None, (error,))
    origins: dict[KeyPath, str] = {leaf: str(file) for leaf in _leaves(tree)}
    layer = overlay(environ, tree)
    for key, value in layer.values.items():
        _put(tree, key, value)
        origins[key] = f"environment variable {layer.variables[key]}"
    for name, value in overrides.items():
        key = tuple(name.split("."))
        _put(tree, key, value)
        origins[key] = "command line"
    found = find_mistakes(tree, Settings)
    warnings = layer.warnings
    settings: Settings | None = None
    if not found:
        settings = msgspec.convert(tree, Settings)
        findings = examine(settings, environ)
        found = findings.mistakes
        warnings = warnings + findings.warnings
    if settings is None or found or layer.mistakes:
        errors = [*_located(found, text, file, origins), *layer.mistakes]
        return Examination(None, tuple(errors))
    shown = {dotted(key): origin for key, origin in origins.items()}
    loaded = Loaded(settings=settings, path=file, warnings=tuple(warnings), origins=shown)
    return Examination(loaded, ())


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file to read, or None. Raises ConfigError when a named file does not exist."""
    named_by = "the command line"
    if path is None and environ.get(FILE_VARIABLE):
        path, named_by = Path(environ[FILE_VARIABLE]).expanduser(), FILE_VARIABLE
    if path is None:
        local = Path(FILE_NAME)
        return local if local.is_file() else None
    if not path.is_file():
        raise ConfigError(
            f"The settings file {path} (named by {named_by}) does not exist.",
            hint="Correct the path, or write one with `farthing config init`.",
        )
    return path


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The file is not UTF-8 text (byte {error.start}).",
            hint="Save it as UTF-8.",
            path=str(file),
        ) from None
    except OSError as error:
        raise ConfigError(
            f"The file cannot be read: {error.strerror}.",
            hint="Check its permissions.",
            path=str(file),
        ) from error


def _parse(text: str, file: Path | None) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.match(str(error))
        said, line, column = match.groups() if match else (str(error), None, None)
        end = text.count("\n") + 1
        # The parser's words may quote the text (a duplicate key, say), never a value.
        raise ConfigError(
            f"This is not valid TOML: {said[:1].lower()}{said[1:]}.",
            hint="Strings need quotes; each table and key may stand only once.",
            path=str(file),
            line=int(line) if line else end,
            column=int(column) if column else 1,
        ) from None
    except RecursionError:
        raise ConfigError("The file is nested too deeply.", path=str(file)) from None


def _leaves(tree: Mapping[str, object], path: KeyPath = ()) -> list[KeyPath]:
    leaves: list[KeyPath] = []
    for key, value in tree.items():
        here = (*path, key)
        leaves += _leaves(value, here) if isinstance(value, dict) else [here]
    return leaves


def _put(tree: dict[str, object], path: KeyPath, value: object) -> None:
    here = tree
    for part in path[:-1]:
        inner = here.get(str(part))
        if not isinstance(inner, dict):
            inner = here[str(part)] = {}
        here = inner
    here[str(path[-1])] = value


def _located(
    mistakes: list[Mistake], text: str, file: Path | None, origins: Mapping[KeyPath, str]
) -> list[ConfigError]:
    """Errors with their places, those of the file first and in its order."""
    if not mistakes:
        return []
    positions = Positions(text)
    placed: list[tuple[Position, ConfigError]] = []
    for mistake in mistakes:
        origin = _origin(mistake.path, origins)
        if origin is not None and origin != str(file):
            error = ConfigError(f"{mistake.message} (Set by {origin}.)", hint=mistake.hint)
            placed.append((Position(text.count("\n") + 2, 0), error))
            continue
        spot = positions.find(mistake.path)
        error = ConfigError(
            mistake.message,
            hint=mistake.hint,
            path=str(file) if file is not None else None,
            line=spot.line if spot else None,
            column=spot.column if spot else None,
        )
        placed.append((spot or Position(0, 0), error))
    placed.sort(key=lambda pair: pair[0])
    return [error for _, error in placed]


def _origin(path: KeyPath, origins: Mapping[KeyPath, str]) -> str | None:
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return None
