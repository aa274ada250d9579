"""API keys: made, shown once, kept as digests, looked up without touching the database."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from hashlib import blake2b
from hmac import compare_digest
from math import inf
from typing import Protocol

import msgspec

from farthing.base.clock import Clock
from farthing.base.storage import Database, Query, Row, Work
from farthing.core.calls import Caller, Role
from farthing.core.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
    did_you_mean,
)

PREFIX = "fk-"
#: Random bytes of a key. A key is a full-entropy secret, so one fast digest protects it: a slow password
#: hash would only slow every call down.
SECRET_BYTES = 32
#: How often a running process looks for changes that another process made, seconds.
REFRESH_S = 1.0
#: The same when somebody shows a key that is not known.
GUESS_REFRESH_S = 0.05


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key may do. models, faces: names with `*`; empty means all."""

    models: tuple[str, ...] = ()
    faces: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cache: bool = False


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret. Times are unix seconds.

    old_expires_at: until then the secret from before the last rotation is good as well.
    """

    id: str
    name: str
    role: Role = "caller"
    team: str | None = None
    scope: Scope = Scope()
    created_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None
    old_expires_at: int | None = None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key just made. secret: shown now and never again."""

    key: Key
    secret: str

    def __repr__(self) -> str:
        return f"NewKey({self.key.id})"


class Signals(Protocol):
    """How processes of one host tell each other that keys have changed."""

    @property
    def keys_mark(self) -> int | None:
        """Changes with each change; None: it cannot be told here, and the database must be asked."""
        ...

    def keys_changed(self) -> None:
        """Tell them."""
        ...


class _Living(msgspec.Struct, frozen=True):
    """A caller, and until when the secret is good, unix seconds."""

    caller: Caller
    until: float


class Keys:
    """The keys of this installation."""

    def __init__(self, database: Database, clock: Clock, signals: Signals) -> None:
        self._database = database
        self._clock = clock
        self._signals = signals
        self._mark: int | None = None
        self._living: dict[bytes, _Living] = {}
        self._by_digest: dict[bytes, Key] = {}
        self._by_old_digest: dict[bytes, Key] = {}
        self._version = -1
        #: Whether no key was ever made. Revoking the last one must not open the door to everybody.
        self.is_untouched = True
        self._looked_at = -REFRESH_S

    async def create(
        self,
        name: str,
        *,
        role: Role = "caller",
        team: str | None = None,
        scope: Scope | None = None,
        expires_at: int | None = None,
    ) -> NewKey:
        """Make a key. Raises ConflictError when a living key has that name."""
        secret = self._new_secret()
        key = Key(
            id=self._clock.new_id("key"),
            name=name,
            role=role,
            team=team,
            scope=scope or Scope(),
            created_at=int(self._clock.now()),
            expires_at=expires_at,
        )
        await self._write(lambda: _insert(key, _digest(secret)))
        return NewKey(key=key, secret=secret)

    async def list(self) -> list[Key]:
        """All keys, the newest last."""
        return [
            _key(row) for row in await self._database.read(f"{_SELECT} ORDER BY created_at, id")
        ]

    async def find(self, name_or_id: str) -> Key:
        """A living key by its name or id. Raises NotFoundError with the nearest names."""
        keys = [key for key in await self.list() if key.revoked_at is None]
        for key in keys:
            if name_or_id in (key.id, key.name):
                return key
        names = [key.name for key in keys]
        hint = did_you_mean(name_or_id, names) or "`farthing keys list` shows them."
        raise NotFoundError(f"There is no key '{name_or_id}'.", hint=hint)

    async def revoke(self, name_or_id: str) -> Key:
        """End a key now, with all its secrets. Raises NotFoundError."""
        key = await self.find(name_or_id)
        now = int(self._clock.now())

        def work() -> Work[None]:
            yield Query("UPDATE keys SET revoked_at = ? WHERE id = ?", (now, key.id))
            yield _CHANGED

        await self._write(work)
        return msgspec.structs.replace(key, revoked_at=now)

    async def rotate(self, name_or_id: str, *, grace_s: int) -> NewKey:
        """A new secret for the same key; the old one stays good for `grace_s`, seconds.

        The key keeps its id and name, so budgets and reports go on. Raises NotFoundError.
        """
        key = await self.find(name_or_id)
        secret = self._new_secret()
        until = int(self._clock.now()) + grace_s

        def work() -> Work[None]:
            yield Query(
                "UPDATE keys SET old_digest = digest, old_expires_at = ?, digest = ? WHERE id = ?",
                (until, _digest(secret), key.id),
            )
            yield _CHANGED

        await self._write(work)
        return NewKey(key=msgspec.structs.replace(key, old_expires_at=until), secret=secret)

    async def refresh(self, *, now: bool = False) -> None:
        """Read the keys again if another process changed them; where processes cannot tell each other, at
        most once a second unless `now`."""
        if not now:
            if self.is_current:
                return
            is_due = self._clock.monotonic() - self._looked_at >= REFRESH_S
            if not is_due and self._signals.keys_mark is None:
                return
        await self._read()

    async def refresh_for(self, secret: str) -> None:
        """Look again at once for a key that is not known yet: it may have been made a moment ago.

        Bounded in how often, so that a caller who guesses keys cannot keep the database busy.
        """
        is_due = self._clock.monotonic() - self._looked_at >= GUESS_REFRESH_S
        if is_due and not self.is_current and _digest(secret) not in self._by_digest:
            await self._read()

    @property
    def is_current(self) -> bool:
        """Whether nobody has changed a key since the last look, as far as that can be told."""
        return self._mark is not None and self._mark == self._signals.keys_mark

    def caller_now(self, secret: str) -> Caller | None:
        """The caller who holds this secret, as of the last look; None: `identify` says what is wrong."""
        living = self._living.get(_digest(secret))
        if living is None or living.until <= self._clock.now():
            return None
        return living.caller

    async def _write(self, work: Callable[[], Work[None]]) -> None:
        await self._database.write(work)
        self._signals.keys_changed()
        await self.refresh(now=True)

    async def _read(self) -> None:
        self._looked_at = self._clock.monotonic()
        mark = self._signals.keys_mark
        try:
            rows = await self._database.read("SELECT value FROM counters WHERE name = 'keys'")
        except StorageError:
            if self._version < 0:
                raise
            return  # the keys last read hold on; whether to serve without a ledger is decided at `reserve`
        if rows[0][0] == self._version:
            self._mark = mark
        else:
            listed = await self._database.read(f"{_SELECT_WITH_DIGEST}")
            self._by_digest = {bytes(row[-2]): _key(row) for row in listed}
            self._by_old_digest = {
                bytes(row[-1]): _key(row) for row in listed if row[-1] is not None
            }
            self._living = _living(self._by_digest, self._by_old_digest)
            self.is_untouched = not listed
            self._version = rows[0][0]
            self._mark = mark

    def _new_secret(self) -> str:
        entropy = self._clock.token_bytes(SECRET_BYTES)
        return PREFIX + base64.urlsafe_b64encode(entropy).decode().rstrip("=")

    @property
    def is_empty(self) -> bool:
        """Whether no living key exists, as of the last refresh."""
        return all(key.revoked_at is not None for key in self._by_digest.values())

    def identify(self, secret: str) -> Key:
        """The key with this secret. Raises AuthenticationError saying why it is not good."""
        digest = _digest(secret)
        key = self._by_digest.get(digest)
        if key is None and digest in self._by_old_digest:
            key = self._by_old_digest[digest]
            if (key.old_expires_at or 0) <= self._clock.now():
                raise AuthenticationError(
                    f"This secret of the API key '{key.name}' was replaced, and its grace is over.",
                    hint="Use the secret that the rotation printed.",
                )
        if key is None or not compare_digest(_digest(secret), digest):
            raise AuthenticationError(
                "This API key is not known here.",
                hint="Use a key made by `farthing keys create`, not a provider's own key.",
            )
        if key.revoked_at is not None:
            raise AuthenticationError(
                f"The API key '{key.name}' was revoked.",
                hint="Ask its administrator for a new one.",
            )
        if key.expires_at is not None and key.expires_at <= self._clock.now():
            raise AuthenticationError(
                f"The API key '{key.name}' has expired.",
                hint="Ask its administrator for a new one.",
            )
        return key


def _living(new: Mapping[bytes, Key], old: Mapping[bytes, Key]) -> dict[bytes, _Living]:
    """Who may call with which secret's digest, and until when."""
    found = {}
    for digest, key, ends in (
        *((digest, key, key.old_expires_at or 0) for digest, key in old.items()),
        *((digest, key, None) for digest, key in new.items()),
    ):
        if key.revoked_at is None:
            limits = [end for end in (ends, key.expires_at) if end is not None]
            found[digest] = _Living(caller_of(key), min(limits, default=inf))
    return found


def caller_of(key: Key) -> Caller:
    """The caller who holds this key."""
    return Caller(
        key_id=key.id,
        name=key.name,
        team=key.team,
        role=key.role,
        models=key.scope.models,
        faces=key.scope.faces,
        tags=key.scope.tags,
        is_cache_allowed=key.scope.cache,
    )


def check_scope(caller: Caller, *, model: str, face: str | None) -> None:
    """Raises PermissionDeniedError that names what the key may do."""
    if caller.faces and face is not None and face not in caller.faces:
        raise PermissionDeniedError(
            f"The key '{caller.name}' may not use the {face} API.",
            hint=f"It may use: {', '.join(caller.faces)}.",
        )
    if caller.models and not any(fnmatchcase(model, pattern) for pattern in caller.models):
        raise PermissionDeniedError(
            f"The key '{caller.name}' may not call '{model[:100]}'.",
            hint=f"It may call: {', '.join(caller.models)}.",
            param="model",
        )


_COLUMNS = "id, name, role, team, scope, created_at, expires_at, revoked_at, old_expires_at"
_SELECT = f"SELECT {_COLUMNS} FROM keys"  # noqa: S608 -- constants only
_SELECT_WITH_DIGEST = f"SELECT {_COLUMNS}, digest, old_digest FROM keys"  # noqa: S608 -- constants only
_CHANGED = Query("UPDATE counters SET value = value + 1 WHERE name = 'keys'")


def _insert(key: Key, digest: bytes) -> Work[None]:
    same = yield Query("SELECT id FROM keys WHERE name = ? AND revoked_at IS NULL", (key.name,))
    if same:
        raise ConflictError(
            f"A key named '{key.name}' exists.", hint="Choose another name, or rotate that key."
        )
    yield Query(
        "INSERT INTO keys (id, name, role, team, scope, created_at, expires_at, digest) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key.id,
            key.name,
            key.role,
            key.team,
            msgspec.json.encode(key.scope).decode(),
            key.created_at,
            key.expires_at,
            digest,
        ),
    )
    yield _CHANGED


def _key(row: Row) -> Key:
    return Key(
        id=row[0],
        name=row[1],
        role=row[2],
        team=row[3],
        scope=msgspec.json.decode(row[4], type=Scope),
        created_at=row[5],
        expires_at=row[6],
        revoked_at=row[7],
        old_expires_at=row[8],
    )


def _digest(secret: str) -> bytes:
    return blake2b(secret.encode(), digest_size=32, person=b"farthing-key").digest()
