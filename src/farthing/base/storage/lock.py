"""A lock file that says which process owns a SQLite database."""

from __future__ import annotations

import os
from pathlib import Path

from farthing.core.errors import StorageError, StorageLockedError

try:
    import fcntl
except ImportError:  # Windows has no flock; the database's own locks must do there
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """An advisory lock; the kernel frees it when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it. Raises StorageLockedError naming the owner's process id."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed(error) from error
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StorageLockedError(
                f"The database {self._path.with_suffix('')} is in use by the process {owner}.",
                hint="End that process, or give this one its own storage.url.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def is_held(self) -> bool:
        """Whether a living process holds it. A file that a dead one left is removed."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._failed(error) from error
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path.unlink(missing_ok=True)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def release(self, *, remove: bool = False) -> None:
        """Give it back. Idempotent. remove: nobody will want the same lock again."""
        if self._descriptor is not None:
            if remove:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"The lock file {self._path} cannot be opened: {error.strerror}.",
            hint="Make its folder writable for this user.",
        )
