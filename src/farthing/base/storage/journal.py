"""Journals: append-only files beside a SQLite database that hold what its tables do not hold yet."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgspec

from farthing.core.errors import StorageError

#: What each file begins with; its last digit is the version of the framing.
MAGIC = b"FARTHJ1\n"
#: In front of each record: bytes of its payload, and their CRC-32 (as in zlib), little-endian.
_FRAME = struct.Struct("<II")
_frame = _FRAME.pack
#: No record is longer, bytes: a longer one is damage.
_MOST = 1 << 24
#: After so many bytes the next record begins a new file, so that the folded one can go.
ROTATE_BYTES = 8 << 20
#: Bytes that a reader takes at once.
CHUNK = 1 << 20
_SUFFIX = ".journal"


class JournalFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file. instance: the process that writes it. number: its place among that process's files."""

    path: Path
    instance: str
    number: int

    @property
    def name(self) -> str:
        """What the fold's positions are kept by."""
        return f"{self.instance}.{self.number}"


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """Whole records that follow one another, and the position behind the last, bytes."""

    payloads: list[bytes]
    position: int


class Journal:
    """The journal of this process. `append` may be called by any of its threads.

    A record whose `append` returned survives the death of the process, since the kernel has it;
    after `sync` it survives a loss of power as well.
    """

    def __init__(self, database: Path, instance: str, *, is_synced: bool = False) -> None:
        """is_synced: `sync` will be asked for; without it no write ever waits for the disk."""
        self._database = database
        self._is_synced = is_synced
        self._instance = instance
        self._number = 0
        self._descriptor = -1
        self._size = 0
        #: Bytes appended so far, over all files of this process.
        self.written = 0
        self._lock = threading.Lock()

    def append(self, payload: bytes) -> None:
        """Write one record, whole or not at all. Raises StorageError."""
        record = _frame(len(payload), crc32(payload)) + payload
        with self._lock:
            if self._descriptor < 0 or self._size >= ROTATE_BYTES:
                self._begin()
            try:
                count = os.write(self._descriptor, record)
            except OSError as error:
                raise self._failed(error) from error
            if count != len(record):
                self._undo()
                raise self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            self._size += count
            self.written += count

    def sync(self) -> None:
        """Wait until the disk has every record that was appended. Raises StorageError."""
        with self._lock:
            if self._descriptor < 0:
                return
            descriptor = os.dup(self._descriptor)
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Write no more. Idempotent; the file stays until it is folded and removed."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                self._size = 0

    def _begin(self) -> None:
        """A new file; the one before is complete and synced, so that `sync` need not know of it."""
        path = path_of(self._database, self._instance, self._number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise self._failed(error) from error
        try:
            if os.write(descriptor, MAGIC) != len(MAGIC):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._is_synced:
                if self._descriptor >= 0:
                    os.fdatasync(self._descriptor)
                _sync_folder(path.parent)
        except OSError as error:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise self._failed(error) from error
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = len(MAGIC)
        self.written += len(MAGIC)
        self._number += 1

    def _undo(self) -> None:
        """Take back a record of which only a part found room."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            # What follows the torn record would be lost to every reader: go on in another file.
            os.close(self._descriptor)
            self._descriptor = -1
            self._size = 0

    def _failed(self, error: OSError) -> StorageError:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        text = "the disk is full" if is_full else (error.strerror or type(error).__name__)
        return StorageError(
            f"The database {self._database} cannot be used: {text} (its journal).",
            hint="Free some space; calls go on as soon as it can be written again."
            if is_full
            else "Make the file and its folder writable for this user.",
        )


def path_of(database: Path, instance: str, number: int) -> Path:
    """Where a process keeps one of its journals."""
    return database.with_name(f"{database.name}.{instance}.{number}{_SUFFIX}")


def journals(database: Path) -> list[JournalFile]:
    """Every journal beside this database; those of one process in the order of their writing."""
    found = []
    prefix = database.name + "."
    with os.scandir(database.parent) as listing:
        for each in listing:
            name = each.name
            if not (name.startswith(prefix) and name.endswith(_SUFFIX)):
                continue
            instance, _, number = name[len(prefix) : -len(_SUFFIX)].rpartition(".")
            if instance and number.isdecimal():
                path = database.with_name(name)
                found.append(JournalFile(path=path, instance=instance, number=int(number)))
    return sorted(found, key=lambda each: (each.instance, each.number))


def read(path: Path, position: int) -> Iterator[Records]:
    """The whole records behind `position` (0: from the start), some at a time.

    It ends before the first record that is cut short or damaged: what its writer was told had been
    written stands before it. A file that is gone has none. Raises OSError.
    """
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    with file:
        if position < len(MAGIC):
            if file.read(len(MAGIC)) != MAGIC:
                return
            position = len(MAGIC)
        file.seek(position)
        rest = b""
        while piece := file.read(CHUNK):
            rest += piece
            payloads, used = _split(rest)
            if payloads:
                position += used
                rest = rest[used:]
                yield Records(payloads=payloads, position=position)
            elif len(rest) > _MOST:
                return


def is_damaged(path: Path, position: int) -> bool:
    """Whether there are bytes behind the last readable record that are not the start of one.

    A record that is merely cut short is what a death in the middle of a write leaves; its writer was never
    told that it was written. Raises OSError.
    """
    try:
        with path.open("rb") as file:
            if position < len(MAGIC):
                head = file.read(len(MAGIC))
                return head != MAGIC[: len(head)]
            file.seek(position)
            frame = file.read(_FRAME.size)
            left = path.stat().st_size - position - _FRAME.size
    except FileNotFoundError:
        return False
    if len(frame) < _FRAME.size:
        return False
    size, _ = _FRAME.unpack(frame)
    return bool(size > _MOST or size <= left)


def _split(data: bytes) -> tuple[list[bytes], int]:
    """The whole records at the start of `data`, and how many bytes they take."""
    payloads = []
    unpack, head = _FRAME.unpack_from, _FRAME.size
    at, end = 0, len(data)
    while (start := at + head) <= end:
        size, checksum = unpack(data, at)
        stop = start + size
        if size > _MOST or stop > end:
            break
        payload = data[start:stop]
        if crc32(payload) != checksum:
            break
        payloads.append(payload)
        at = stop
    return payloads, at


def _sync_folder(folder: Path) -> None:
    """Let the disk know of a new file's name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
