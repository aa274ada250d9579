"""The exact answer cache: in memory, bounded in size and age, one tenant never sees another's."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from farthing.base.clock import Clock
from farthing.base.config.settings import Cache as CacheSettings
from farthing.core.calls import Caller, Event, Request
from farthing.core.private import PrivateStruct

#: Book-keeping bytes per entry beside its events, so that many tiny answers count as well.
_ENTRY_OVERHEAD = 500


class Cached(PrivateStruct, frozen=True, kw_only=True):
    """A complete answer in the client's dialect, and where it came from."""

    events: tuple[Event, ...]
    model: str
    deployment: str
    provider: str
    is_simulated: bool
    stored_at_s: float

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return sum(len(event.wire) for event in self.events) + _ENTRY_OVERHEAD


class AnswerCache:
    """Least recently used answers by the hash of tenant, dialect, model and exact body.

    Kept in memory only: an answer is text, and text is not written to disk without a policy that says so.
    """

    def __init__(self, settings: CacheSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._entries: OrderedDict[bytes, Cached] = OrderedDict()
        self._size = 0

    def configure(self, settings: CacheSettings) -> None:
        """Take new bounds; what no longer fits goes."""
        self._settings = settings
        self._shrink()

    def get(self, key: bytes) -> Cached | None:
        """The answer, unless it is absent or too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock.now() - entry.stored_at_s > self._settings.ttl_s:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Cached) -> None:
        """Keep a complete answer, if it is small enough."""
        if entry.size > self._settings.max_entry_kb * 1024 or not self._settings.max_mb:
            return
        self._remove(key)
        self._entries[key] = entry
        self._size += entry.size
        self._shrink()

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        return self._size

    def __len__(self) -> int:
        return len(self._entries)

    def _shrink(self) -> None:
        while self._size > self._settings.max_mb * 1024 * 1024:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size


def cache_key(request: Request, caller: Caller) -> bytes:
    """Who asks (the team, or the key without one), in which dialect, for what, byte for byte.

    The stream flag and the model are hashed apart, since some dialects keep them outside the body.
    """
    tenant = f"team:{caller.team}" if caller.team else f"key:{caller.key_id}"
    digest = blake2b(digest_size=20, person=b"farthing-cache")
    for part in (tenant, request.dialect, request.head.model, str(request.head.stream)):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    for name, value in sorted(request.headers):
        digest.update(f"{name}:{value}\n".encode())
    digest.update(request.body)
    return digest.digest()
