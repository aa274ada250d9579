"""The tests' own surroundings: no way off this machine, no keys of the developer's."""

from __future__ import annotations

import os
import socket

import pytest


def test_no_test_can_leave_this_machine() -> None:
    with pytest.raises(ConnectionRefusedError, match="this machine only"):
        socket.create_connection(("192.0.2.1", 443), timeout=1)
    with pytest.raises(ConnectionRefusedError, match="this machine only"):
        socket.getaddrinfo("api.example.com", 443)


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()


def test_no_test_sees_a_key_of_the_developers() -> None:
    assert not [name for name in os.environ if name.endswith("_API_KEY")]
