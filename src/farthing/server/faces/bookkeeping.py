"""Keys and money over the admin API."""

from __future__ import annotations

from farthing.server.faces.authority import AdminOperation

OPERATIONS: tuple[AdminOperation, ...] = ()
