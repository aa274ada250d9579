"""The environment's overlay: `FARTHING_SERVER__PORT=5000` sets `server.port`.

Two underscores go one table deeper. Names are read without regard to case; in names of providers,
deployments and routes an underscore also stands for `-`, `.` and `/` (`FARTHING_PROVIDERS__MY_AZURE__KEY`
finds `[providers.my-azure]`). Values are converted to the setting's type: `true`, `5000`, `2.5`; a list
is written as TOML (`["a", "b"]`) or with commas. Variables without two underscores are not settings.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import get_args, get_origin

import msgspec

from farthing.base.config.positions import KeyPath
from farthing.base.config.schema import shape, strip
from farthing.base.config.settings import Settings
from farthing.core.errors import ConfigError, did_you_mean

PREFIX = "FARTHING_"
_SEPARATORS = re.compile(r"[-./: ]")


class Overlay(msgspec.Struct, frozen=True):
    """What the environment sets: values by path, the variable that set each, mistakes, warnings."""

    values: dict[KeyPath, object]
    variables: dict[KeyPath, str]
    mistakes: list[ConfigError]
    warnings: list[str]


def overlay(environ: Mapping[str, str], base: Mapping[str, object]) -> Overlay:
    """Read every `FARTHING_…__…` variable. base: the file's tree, whose names the variables may mean."""
    found = Overlay({}, {}, [], [])
    settings_names = _variable_names(Settings)
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        if "__" not in variable:
            _warn_of_single_underscore(variable, settings_names, found.warnings)
            continue
        try:
            path, declared = _resolve(variable, base, settings_names)
        except ConfigError as error:
            found.mistakes.append(error)
            continue
        found.values[path] = _convert(environ[variable], declared)
        found.variables[path] = variable
    return found


def _resolve(
    variable: str, base: Mapping[str, object], known: Iterable[str]
) -> tuple[KeyPath, object]:
    declared: object = Settings
    here: object = base
    path: KeyPath = ()
    for part in variable.removeprefix(PREFIX).split("__"):
        form = shape(declared)
        if form.struct is not None:
            fields = {field.name: field.type for field in msgspec.structs.fields(form.struct)}
            name = part.lower()
            if name not in fields:
                raise _unknown(variable, known)
            declared = fields[name]
        elif form.of is not None and part:
            name = _existing(part, here)
            declared = form.of
        else:
            raise _unknown(variable, known)
        path += (name,)
        here = here.get(name) if isinstance(here, Mapping) else None
    form = shape(declared)
    if form.struct is not None or form.of is not None:
        raise ConfigError(
            f"Environment variable {variable} names a table, not a setting.",
            hint=f"Set one of its keys, e.g. {variable}__NAME.",
        )
    return path, declared


def _existing(part: str, here: object) -> str:
    """The name in the file that the variable's part means, or a new lower-case one."""
    folded = _fold(part)
    if isinstance(here, Mapping):
        for name in here:
            if _fold(str(name)) == folded:
                return str(name)
    return part.lower()


def _fold(name: str) -> str:
    return _SEPARATORS.sub("_", name).lower()


def _convert(text: str, declared: object) -> object:
    """The text as the declared type wants it; a text that does not fit is left for the schema to refuse."""
    bare = strip(declared)
    if bare is str:
        return text
    if get_origin(bare) is tuple and not text.lstrip().startswith("["):
        items = [item.strip() for item in text.split(",") if item.strip()]
        is_number = get_args(bare)[0] is int
        return [int(item) if is_number and item.isdecimal() else item for item in items]
    lowered = text.strip().lower()
    try:
        return tomllib.loads(f"v = {lowered if lowered in ('true', 'false') else text.strip()}")[
            "v"
        ]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def _unknown(variable: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"Environment variable {variable} names no setting.",
        hint=did_you_mean(variable, known) or "`farthing config show` lists the settings.",
    )


def _warn_of_single_underscore(variable: str, known: Iterable[str], warnings: list[str]) -> None:
    # Kubernetes sets FARTHING_SERVER_PORT for a service called farthing-server, so this can't be an error.
    warnings.extend(
        f"Environment variable {variable} is not read; a setting is written {name}."
        for name in known
        if name.replace("__", "_") == variable
    )


def _variable_names(struct: type[msgspec.Struct], prefix: str = PREFIX) -> list[str]:
    """Every variable that exists by itself; inside tables of names the name is shown as `NAME`."""
    names: list[str] = []
    for field in msgspec.structs.fields(struct):
        name = prefix + field.name.upper()
        form = shape(field.type)
        inner = shape(form.of).struct if form.of is not None else form.struct
        if inner is not None:
            names += _variable_names(
                inner, f"{name}__NAME__" if form.of is not None else f"{name}__"
            )
        elif form.of is not None:
            names.append(f"{name}__NAME")
        else:
            names.append(name)
    return names
