"""Names to addresses: asked off the event loop, remembered for a while, and the dead ones last."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from itertools import chain, zip_longest

from farthing.wire.upstream.errors import ConnectError

#: How long an answer counts, seconds. `getaddrinfo` does not tell the record's own time to live; vendors
#: use 30 to 300 s, and only new connections look.
TTL_S = 30.0
#: How long an old answer is used when the name server does not answer any more, seconds.
STALE_S = 600.0

#: An address family (AF_INET or AF_INET6) and a numeric address.
Address = tuple[int, str]
#: Asks for a host's addresses, in the order of preference. Raises OSError.
Lookup = Callable[[str], Awaitable[list[Address]]]


class Resolver:
    """A memory of names. One lookup per name runs at a time; those who wait share it."""

    def __init__(self, lookup: Lookup | None = None, *, ttl_s: float = TTL_S) -> None:
        self._lookup = lookup or system_lookup
        self._ttl_s = ttl_s
        self._known: dict[str, tuple[float, list[Address]]] = {}
        self._running: dict[str, asyncio.Task[list[Address]]] = {}

    async def addresses(self, host: str) -> list[Address]:
        """At least one address; families take turns (RFC 8305, 4). Raises ConnectError."""
        literal = _literal(host)
        if literal is not None:
            return [literal]
        asked_at, known = self._known.get(host, (float("-inf"), []))
        age = asyncio.get_running_loop().time() - asked_at
        if age < self._ttl_s:
            return list(known)
        try:
            return list(await self._ask(host))
        except OSError as error:
            if age < STALE_S:
                return list(known)
            raise ConnectError((error.strerror or type(error).__name__).lower()) from error

    def demote(self, host: str, address: Address) -> None:
        """This address did not answer: others are tried before it until the next lookup."""
        _, known = self._known.get(host, (0.0, []))
        if address in known:
            known.remove(address)
            known.append(address)

    async def _ask(self, host: str) -> list[Address]:
        task = self._running.get(host)
        if task is None:
            task = asyncio.create_task(self._look_up(host))
            self._running[host] = task
            task.add_done_callback(lambda done: self._looked_up(host, done))
        # Shielded: the others who wait must not lose the lookup because one of them gave up.
        return await asyncio.shield(task)

    async def _look_up(self, host: str) -> list[Address]:
        found = await self._lookup(host)
        if not found:
            raise OSError(0, "the name has no address")
        ordered = taking_turns(found)
        self._known[host] = (asyncio.get_running_loop().time(), ordered)
        return ordered

    def _looked_up(self, host: str, task: asyncio.Task[list[Address]]) -> None:
        self._running.pop(host, None)
        if not task.cancelled():
            task.exception()  # seen: those who wait raise it, and they may all have given up

    async def aclose(self) -> None:
        """Stop what is being looked up. Idempotent."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def system_lookup(host: str) -> list[Address]:
    """What the machine's resolver says, in its order of preference (RFC 6724); in a thread of the loop."""
    rows = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    found = [(int(row[0]), str(row[4][0])) for row in rows]
    return list(dict.fromkeys(found))


def taking_turns(addresses: list[Address]) -> list[Address]:
    """The same addresses with families in alternation, beginning with the first one's."""
    first = [each for each in addresses if each[0] == addresses[0][0]]
    other = [each for each in addresses if each[0] != addresses[0][0]]
    pairs = chain.from_iterable(zip_longest(first, other))
    return [each for each in pairs if each is not None]


def _literal(host: str) -> Address | None:
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    return (int(socket.AF_INET if version == 4 else socket.AF_INET6), host)
