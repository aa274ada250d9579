"""The board: totals that all processes of one host share in memory, under a lock that dies with its holder."""

from __future__ import annotations

import mmap
import os
import threading
from hashlib import blake2b
from pathlib import Path

from farthing.core.errors import StorageError

try:
    import fcntl
except ImportError:  # Windows: no board there, and no journal; the tables alone keep the money
    fcntl = None  # type: ignore[assignment]

IS_AVAILABLE = fcntl is not None
_TAKE = fcntl.LOCK_EX | fcntl.LOCK_NB if IS_AVAILABLE else 0
_GIVE = fcntl.LOCK_UN if IS_AVAILABLE else 0

_MAGIC = int.from_bytes(b"FARTHBRD", "little")
#: Of the layout below. Another version's board is made anew.
VERSION = 1

#: The head's words, each of 8 bytes.
(
    MAGIC_AT,
    VERSION_AT,
    #: Counts up whenever the windows of calls under way may have changed: what was known of them is stale.
    GENERATION,
    #: Two marks: the totals are to be counted anew while they differ. Whoever changed something unseen sets
    #: WANTED to a number that nobody used before; who counts sets COUNTED to what WANTED was before.
    WANTED,
    COUNTED,
    #: 1 between the first and the last store of a change: whoever finds it set counts anew.
    BUSY,
    #: Changes with each change of the keys.
    KEYS,
    #: Changes with each fold of a journal.
    FOLDED,
    #: Of the budgets that the slots stand for, as the database counts it.
    BUDGETS,
    #: Slots in use.
    USED,
    RATES_USED,
) = range(11)
_HEAD = 64
#: A window's slot: its key in two words, nanodollars spent, and held.
SLOT = 4
SLOTS = 16_384
#: A rate's slot: its key in two words, when all admitted so far has passed (unix nanoseconds), and how
#: far refunds have moved that back in all.
RATES = 2_048
_RATES_AT = _HEAD + SLOT * SLOTS
_WORDS = _RATES_AT + SLOT * RATES
SIZE = _WORDS * 8

#: How often the quick path tries for the lock before it leaves the call to the slow one: far beyond the few
#: stores and one write that the holder needs. Each slow way counts every budget anew.
_TRIES = 200
#: After so many tries the core is offered to others: the holder may be waiting for it.
_SPINS = 4
#: Between two tries of the slow path, seconds.
_PAUSE_S = 0.0005


class Board:
    """A file of 8-byte words that every process maps. Each store is one word, so none is ever torn.

    Two descriptors, since the kernel's lock belongs to a descriptor: the event loop's, which never
    waits, and the writing thread's, which does.
    """

    def __init__(self, path: Path, *, nonce: int) -> None:
        """nonce: another number for each board object, so that marks are never equal."""
        self._path = path
        self._mark = (nonce & 0x3FFFFFFF) << 32
        self._quick = self._slow = -1
        self._map: mmap.mmap | None = None
        #: Whether it is mapped.
        self.is_open = False
        self._wait = threading.Event()
        self.words: memoryview[int] = memoryview(bytes(8)).cast("q")

    def open(self, *, timeout_s: float) -> None:
        """Map the file; make it, or make it anew where it is of no use. Raises StorageError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            self._quick = os.open(self._path, flags, 0o600)
            self._slow = os.open(self._path, flags, 0o600)
            self.lock(timeout_s)
            try:
                self._prepare()
            finally:
                self.unlock()
        except OSError as error:
            self.close()
            raise self._failed(error) from error
        except StorageError:
            self.close()
            raise

    def close(self) -> None:
        """Unmap it. Idempotent; the file stays for the others."""
        if self._map is not None:
            self.is_open = False
            self.words.release()
            self.words = memoryview(bytes(8)).cast("q")
            self._map.close()
            self._map = None
        for descriptor in (self._quick, self._slow):
            if descriptor >= 0:
                os.close(descriptor)
        self._quick = self._slow = -1

    def is_in_place(self) -> bool:
        """Whether the file of this name is still the one that is mapped."""
        try:
            found, mine = self._path.stat(), os.fstat(self._slow)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    # --- the lock ---

    def try_lock(self) -> bool:
        """Take the lock without waiting; the event loop's. Give it back with `unlock_quick`."""
        for number in range(_TRIES):
            try:
                fcntl.flock(self._quick, _TAKE)
            except OSError:
                if number >= _SPINS:
                    os.sched_yield()
                continue
            return True
        return False

    def unlock_quick(self) -> None:
        """Give back what `try_lock` took."""
        fcntl.flock(self._quick, _GIVE)

    def lock(self, timeout_s: float) -> None:
        """Wait for the lock; the writing thread's. Raises StorageError when the time is over.

        It asks again and again: a wait inside the kernel could not be ended, and another process may
        have been stopped while it holds the lock.
        """
        for _ in range(max(1, int(timeout_s / _PAUSE_S))):
            try:
                fcntl.flock(self._slow, _TAKE)
            except BlockingIOError:
                self._wait.wait(_PAUSE_S)
                continue
            return
        raise StorageError(
            f"The board {self._path} is locked by another process.",
            hint="Is one of this database's processes stopped? End it, or let it go on.",
        )

    def unlock(self) -> None:
        """Give back what `lock` took."""
        fcntl.flock(self._slow, _GIVE)

    # --- the head ---

    def new_mark(self) -> int:
        """A number that no board object used before."""
        self._mark += 1
        return self._mark

    def want_count(self) -> None:
        """From now on the totals are to be counted anew. Needs no lock."""
        self.words[WANTED] = self.new_mark()

    @property
    def is_sound(self) -> bool:
        """Whether the totals hold. Says something about this moment only under the lock."""
        words = self.words
        return words[WANTED] == words[COUNTED] and not words[BUSY]

    # --- slots ---

    def clear(self) -> None:
        """Forget every window. Under the lock, while a count is wanted."""
        self.words[USED] = 0

    def add(self, key: tuple[int, int]) -> int:
        """A new slot, empty. Returns where its `spent` is; `held` follows. Raises StorageError: no room."""
        words = self.words
        used = words[USED]
        if used >= SLOTS:
            raise StorageError(
                f"The board {self._path} has no room for more than {SLOTS:,} windows of budgets.",
                hint="Use fewer budgets, or Postgres (storage.url).",
            )
        at = _HEAD + used * SLOT
        words[at], words[at + 1], words[at + 2], words[at + 3] = key[0], key[1], 0, 0
        words[USED] = used + 1
        return at + 2

    def slots(self, since: int = 0) -> dict[tuple[int, int], int]:
        """Where each key's `spent` is, from the slot number `since` on; slots that were dropped are not."""
        words = self.words
        found = {}
        for at in range(_HEAD + since * SLOT, _HEAD + words[USED] * SLOT, SLOT):
            if words[at] or words[at + 1]:
                found[words[at], words[at + 1]] = at + 2
        return found

    def drop(self, at: int) -> None:
        """Let a slot stand for nothing any more; its place is not used again before `clear`."""
        self.words[at - 2] = self.words[at - 1] = 0

    def rate(self, key: tuple[int, int]) -> int | None:
        """Where a rate's words are; made when it is new. Under the lock. None: no room."""
        words = self.words
        used = words[RATES_USED]
        for at in range(_RATES_AT, _RATES_AT + used * SLOT, SLOT):
            if words[at] == key[0] and words[at + 1] == key[1]:
                return at + 2
        if used >= RATES:
            return None
        at = _RATES_AT + used * SLOT
        words[at], words[at + 1], words[at + 2], words[at + 3] = key[0], key[1], 0, 0
        words[RATES_USED] = used + 1
        return at + 2

    # --- private ---

    def _prepare(self) -> None:
        """Under the lock: the file has its size and a head that this program understands."""
        if os.fstat(self._slow).st_size < SIZE:
            os.ftruncate(self._slow, SIZE)
        self._map = mmap.mmap(self._slow, SIZE)
        self.words = memoryview(self._map).cast("q")
        words = self.words
        is_known = words[MAGIC_AT] == _MAGIC and words[VERSION_AT] == VERSION
        is_possible = 0 <= words[USED] <= SLOTS and 0 <= words[RATES_USED] <= RATES
        if not (is_known and is_possible):
            words[MAGIC_AT] = 0
            for at in range(2, _HEAD):
                words[at] = 0
            # Not one that a process which mapped another board knows.
            words[GENERATION] = self._mark >> 32
            words[VERSION_AT] = VERSION
            words[MAGIC_AT] = _MAGIC
        self.want_count()
        self.is_open = True

    def _failed(self, error: OSError) -> StorageError:
        is_full = error.strerror == os.strerror(28)
        return StorageError(
            f"The board {self._path} cannot be used: {error.strerror}.",
            hint="Free some space."
            if is_full
            else "Make the file and its folder writable for this user.",
        )


def key_of(*parts: object) -> tuple[int, int]:
    """A slot's key: 128 bits of what it stands for, as two words."""
    digest = blake2b(
        "\0".join(map(str, parts)).encode(), digest_size=16, person=b"farthing-board"
    ).digest()
    words = memoryview(digest).cast("q")
    return words[0], words[1]
