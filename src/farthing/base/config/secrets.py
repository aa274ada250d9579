"""Secrets by reference: `env:NAME`, `file:PATH`, or the secret itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from farthing.core.errors import ConfigError
from farthing.core.private import Private

ENV = "env:"
FILE = "file:"


def resolve_secret(reference: str, environ: Mapping[str, str]) -> Private:
    """The secret that a reference names; its repr never shows it.

    A file's content loses surrounding white space (editors end files with a newline); a relative path
    starts at the current folder. Raises ConfigError when the variable is unset or empty, or when the file
    cannot be read or is empty.
    """
    if reference.startswith(ENV):
        return _from_environment(reference.removeprefix(ENV), environ)
    if reference.startswith(FILE):
        return _from_file(Path(reference.removeprefix(FILE)).expanduser())
    return Private(reference)


def is_reference(value: str) -> bool:
    """Whether the value names a secret instead of being one."""
    return value.startswith((ENV, FILE))


def masked(value: str) -> str:
    """What may be shown of a secret setting: a reference as it is, anything else as `***`."""
    return value if is_reference(value) else "***"


def _from_environment(name: str, environ: Mapping[str, str]) -> Private:
    value = environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"The environment variable {name} is not set.",
            hint=f"Set it (export {name}=…) before the start, or use `file:PATH` instead.",
        )
    return Private(value)


def _from_file(path: Path) -> Private:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ConfigError(
            f"The secret file {path} does not exist.", hint="Create it or correct the path."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The secret file {path} cannot be read ({type(error).__name__}).",
            hint="It must be a text file that this user may read.",
        ) from None
    if not value:
        raise ConfigError(f"The secret file {path} is empty.", hint="Write the secret into it.")
    return Private(value)
