"""The socket is bound first, and a refusal says what to do."""

from __future__ import annotations

import pytest

from farthing.base.config.settings import Server
from farthing.core.errors import ConfigError
from farthing.server.listener import listen, url_of


def test_port_0_picks_a_free_port_that_the_url_names() -> None:
    with listen(Server(port=0)) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener, Server(port=0)) == f"http://127.0.0.1:{port}"


def test_a_port_in_use_names_the_port_and_another_to_try() -> None:
    with listen(Server(port=0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Port {port} on 127\.0\.0\.1 is in use.*--port"):
            listen(Server(port=port))


def test_all_interfaces_are_shown_as_an_address_that_can_be_typed() -> None:
    with listen(Server(host="0.0.0.0", port=0)) as listener:
        assert url_of(listener, Server()).startswith("http://127.0.0.1:")


def test_several_processes_may_share_a_port_when_all_say_so() -> None:
    with listen(Server(port=0), reuse_port=True) as first:
        port = first.getsockname()[1]
        with listen(Server(port=port), reuse_port=True) as second:
            assert second.getsockname()[1] == port
        with pytest.raises(ConfigError, match="in use"):
            listen(Server(port=port))
