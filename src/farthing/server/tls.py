"""TLS from two PEM files, with an error that says which of them is wrong and how."""

from __future__ import annotations

import ssl
from pathlib import Path

from farthing.base.config.settings import Server
from farthing.core.errors import ConfigError


def tls_context(settings: Server) -> ssl.SSLContext | None:
    """The context for the listening socket, None without TLS. Raises ConfigError."""
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise ConfigError(
                "server.tls_key is set without server.tls_cert.",
                hint="Set server.tls_cert to the PEM file with the certificate chain.",
            )
        return None
    certificate = _existing("tls_cert", settings.tls_cert)
    key = _existing("tls_key", settings.tls_key) if settings.tls_key is not None else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])

    def no_passphrase() -> bytes:
        # Without this, OpenSSL would stop and ask on the terminal.
        raise ConfigError(
            f"The private key {key or certificate} is encrypted with a passphrase.",
            hint="Decrypt it: openssl pkey -in key.pem -out plain.pem",
        )

    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except ssl.SSLError as error:
        raise _wrong(error, certificate, key) from error
    except OSError as error:
        raise ConfigError(
            f"The TLS files cannot be read: {error.strerror}.",
            hint=f"Check the permissions of {certificate}" + (f" and {key}." if key else "."),
        ) from error
    return context


def _existing(setting: str, name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"server.{setting} names {name}, which is no file.",
            hint="Correct the path; a relative one starts at the current folder.",
        )
    return path


def _wrong(error: ssl.SSLError, certificate: Path, key: Path | None) -> ConfigError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return ConfigError(
            f"The private key {key} does not belong to the certificate {certificate}.",
            hint="Use the pair that was issued together; the server's certificate comes first in the file.",
        )
    place = f"{certificate} or {key}" if key else f"{certificate}"
    return ConfigError(
        f"TLS cannot use {place}: it is not valid PEM of the expected kind"
        f" ({error.reason or 'unknown format'}).",
        hint="server.tls_cert takes the certificate chain, server.tls_key the private key, both as PEM"
        " (-----BEGIN …).",
    )
