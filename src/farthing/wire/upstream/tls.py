"""The client's TLS: the machine's trust, HTTP/1.1 only, and sessions that are taken up again."""

from __future__ import annotations

import ssl
import sys
from typing import Any

#: A session is taken up again at most so often, so that a stolen one is soon worth nothing.
_MAX_RESUMPTIONS = 64


class ClientContext(ssl.SSLContext):
    """What `ssl.create_default_context()` makes, with a memory of one session for each server.

    asyncio and uvloop have no argument for a session; both call `wrap_bio`, which has one. A resumed
    session was verified when it began, by this very context and for the same name (OpenSSL sees to that);
    a server that does not know it any more is answered with a whole handshake.
    """

    _sessions: dict[str, tuple[ssl.SSLSession, int]]

    def __new__(cls, *, cadata: str | None = None) -> ClientContext:
        """cadata: PEM certificates to trust in place of the machine's own."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context._sessions = {}
        if sys.version_info >= (3, 13):  # what Python's own default does from there on
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        if cadata is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(cadata=cadata)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def remember(self, ssl_object: Any) -> None:
        """Keep this connection's session.

        To be called after its first answer: with TLS 1.3 the server sends it some time after the handshake.
        """
        name, session = ssl_object.server_hostname, ssl_object.session
        if name is not None and session is not None and session.has_ticket:
            self._sessions[name] = (session, _MAX_RESUMPTIONS)

    def wrap_bio(self, *args: Any, **more: Any) -> ssl.SSLObject:
        name = more.get("server_hostname") or ""
        session, left = self._sessions.pop(name, (None, 0))
        if session is None:
            return super().wrap_bio(*args, **more)
        if left > 1:
            self._sessions[name] = (session, left - 1)
        return super().wrap_bio(*args, **{**more, "session": session})
