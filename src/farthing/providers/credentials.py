"""Find a provider's key: as its settings say, or in the vendor's usual variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farthing.base.config.secrets import resolve_secret
from farthing.core.private import Private


def vendor_key(
    reference: str | None, environ: Mapping[str, str], variables: Sequence[str]
) -> Private | None:
    """The key of a provider: what its setting refers to, else the first set one of `variables`.

    None when the setting is absent and no variable is set. Raises ConfigError like `resolve_secret`.
    """
    if reference is not None:
        return resolve_secret(reference, environ)
    values = (environ.get(name, "").strip() for name in variables)
    return next((Private(value) for value in values if value), None)


def extra_headers(headers: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """A provider's `headers` table with its references looked up, names in lower case."""
    return {
        name.lower(): resolve_secret(value, environ).reveal() for name, value in headers.items()
    }
