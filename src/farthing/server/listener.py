"""The listening socket: bound before anything else starts, with errors that say what to do."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address

from farthing.base.config.settings import Server
from farthing.core.errors import ConfigError

_BACKLOG = 2048


def listen(settings: Server, *, reuse_port: bool = False, port: int | None = None) -> socket.socket:
    """A bound, listening TCP socket. Raises ConfigError for an address that is taken or not ours.

    reuse_port: other processes that say so too may listen on the same port, and the kernel deals new
    connections out among them; then a port in use by them is no error. port: another than the settings'.
    Bytes are sent without delay (TCP_NODELAY): asyncio and uvloop set it on every accepted connection.
    """
    host, port = settings.host, settings.port if port is None else port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigError(
            f"server.host '{host}' cannot be resolved.",
            hint="Use an address such as 127.0.0.1, or a name that this machine knows.",
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _refused(error, host, port) from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, settings: Server) -> str:
    """How a client on this machine reaches it: `http://127.0.0.1:4000`."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls_cert else 'http'}://{shown}:{port}"


def _refused(error: OSError, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"Port {port} on {host} is in use by another program.",
            hint=f"Stop that program, or choose another port: farthing up --port {port + 1} (0 picks a free"
            " one).",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"This user may not listen on port {port}.", hint="Choose a port above 1023."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(
            f"{host} is not an address of this machine.",
            hint="Use 127.0.0.1, 0.0.0.0 or one of its own addresses.",
        )
    return ConfigError(f"Cannot listen on {host}:{port}: {error.strerror}.")
