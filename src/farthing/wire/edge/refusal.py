"""A request that is refused before anybody is asked: by its grammar, its size or its pace."""

from __future__ import annotations


class RefusedError(Exception):
    """Answered with `status` and a line of plain text; the connection closes.

    reason: a sentence about the request's form. It never quotes the request.
    """

    def __init__(self, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class ClientGoneError(Exception):
    """The client closed the connection, or has stopped reading; there is nobody to answer."""


def malformed(what: str) -> RefusedError:
    """A request that is not HTTP/1.1, or that another reader could understand differently."""
    return RefusedError(f"Invalid HTTP request received. {what}")
