"""Find a provider's key: `env:NAME`, `file:PATH`, or the vendor's usual variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from farthing.core.errors import ConfigError, did_you_mean
from farthing.core.private import Private


def secret(reference: str, environ: Mapping[str, str], *, where: str) -> Private:
    """The secret that a setting refers to.

    where: the setting's name, for messages (`providers.openai.key`). A value without `env:` or `file:`
    is the secret itself. Raises ConfigError naming the variable or file, never showing a value.
    """
    if reference.startswith("env:"):
        name = reference.removeprefix("env:")
        value = environ.get(name, "").strip()
        if not value:
            near = did_you_mean(
                name, [known for known in environ if known.endswith(("KEY", "TOKEN"))]
            )
            raise ConfigError(
                f"{where} refers to the environment variable {name}, which is not set.",
                hint=near
                or f"Set it (export {name}=…), or use a `sim` provider, which needs no key.",
            )
        return Private(value)
    if reference.startswith("file:"):
        path = Path(reference.removeprefix("file:")).expanduser()
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{where} refers to the file {path}, which cannot be read.",
                hint="Check that it exists and that this user may read it.",
            ) from error
        if not value:
            raise ConfigError(
                f"{where} refers to the file {path}, which is empty.", hint="Write the key in it."
            )
        return Private(value)
    return Private(reference)


def vendor_key(
    reference: str | None, environ: Mapping[str, str], *, provider: str, variables: Sequence[str]
) -> Private | None:
    """The key of a provider: as its settings say, else from the first set of the vendor's `variables`.

    None when the settings say nothing and none of the variables is set. Raises ConfigError like `secret`.
    """
    if reference is not None:
        return secret(reference, environ, where=f"providers.{provider}.key")
    for name in variables:
        if environ.get(name, "").strip():
            return Private(environ[name].strip())
    return None


def extra_headers(
    headers: Mapping[str, str], environ: Mapping[str, str], *, provider: str
) -> dict[str, str]:
    """The `headers` table of a provider with its `env:` and `file:` values looked up, names in lower case."""
    return {
        name.lower(): secret(value, environ, where=f"providers.{provider}.headers.{name}").reveal()
        for name, value in headers.items()
    }
