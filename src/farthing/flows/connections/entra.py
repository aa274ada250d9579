"""Tokens of Microsoft Entra ID for a connection, kept until shortly before they end.

By whom: a credential object of the user's; else the identity that the environment describes, asked as the gateway's
providers ask it; else who is signed in on this machine (Azure CLI, Visual Studio Code …), as the package
azure-identity finds out; else the identity of the machine.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Protocol

import msgspec

from farthing.base.clock import Clock, SystemClock
from farthing.base.registry import imported
from farthing.core.errors import ConfigError, FarthingError, FlowError
from farthing.core.private import Private

_MAKING = threading.Lock()
_INSTALL = "pip install 'farthing[azure]'"


class AccessToken(Protocol):
    """A token as Azure's libraries have it. expires_on: unix seconds."""

    @property
    def token(self) -> str: ...

    @property
    def expires_on(self) -> float: ...


class Credential(Protocol):
    """What gets tokens: any credential of azure-identity, or an object of one's own."""

    def get_token(self, *scopes: str) -> AccessToken:
        """A token for these scopes."""
        ...


class WithTokens:
    """A connection to a service of Azure that takes tokens. credential: who gets them; see this module."""

    #: What the service is called in the scope of its tokens.
    AUDIENCE: ClassVar[str] = "cognitiveservices"
    configs: dict[str, Any]
    name: str | None

    def __init__(self, *, credential: Credential | None = None, **told: Any) -> None:
        super().__init__(**told)
        self.credential = credential
        self._tokens: Tokens | None = None

    def get_token(self) -> str:
        """A token of Microsoft Entra ID for this resource, kept until shortly before its end.

        Blocks while one is fetched. Raises FlowError, which says what to set or install.
        """
        with _MAKING:  # many threads may ask a new connection at once
            if self._tokens is None:
                self._tokens = self._made()
        return self._tokens.get()

    def _made(self) -> Tokens:
        # What fetches them is imported by those who need it: most flows have keys.
        from farthing.providers.entra import scope_of

        endpoint = self.configs.get("api_base") or self.configs.get("endpoint") or ""
        scope = scope_of(str(endpoint), self.AUDIENCE)
        who = self.name or type(self).__name__
        return Tokens(who, scope, self.credential, environ=os.environ, clock=SystemClock())

    def __getstate__(self) -> dict[str, Any]:
        # A copy fetches its own: locks are not copied, and tokens stay where they are.
        return {**vars(self), "_tokens": None}


class Tokens:
    """The tokens of one connection, for one scope. `get` may be called from any thread."""

    def __init__(
        self,
        name: str,
        scope: str,
        credential: Credential | None,
        *,
        environ: Mapping[str, str],
        clock: Clock,
    ) -> None:
        """name: of the connection, for errors. credential: None for the default."""
        self._name = name
        self._scope = scope
        self._credential = credential
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Private | None = None
        self._ends = 0.0
        self._renew_at = 0.0

    def get(self) -> str:
        """A token that is good for a while. Blocks while one is fetched. Raises FlowError."""
        with self._lock:  # one fetch, however many threads wait for it
            if self._token is None or self._clock.now() >= self._renew_at:
                self._renew()
            assert self._token is not None
            return self._token.reveal()

    def _renew(self) -> None:
        from farthing.providers.entra import RENEW_PAUSE_S, useful_s

        now = self._clock.now()
        try:
            token, ends = self._fetched()
        except FlowError:
            if self._token is None or now >= self._ends:
                raise
            self._renew_at = now + RENEW_PAUSE_S  # the old one is still good
            return
        self._token, self._ends = Private(token), ends
        self._renew_at = now + useful_s(ends - now)

    def _fetched(self) -> tuple[str, float]:
        """A token and its end, unix seconds."""
        try:
            self._credential = self._credential or self._default()
            found = self._credential.get_token(self._scope)
            return str(found.token), float(found.expires_on)
        except FarthingError as error:
            raise self._failed(error) from error
        except Exception as error:  # border: another's package, or an object of the user's
            who = "azure-identity" if self._credential is None else type(self._credential).__name__
            raise FlowError(
                f"No Entra token for connection '{self._name}': {who} failed with {type(error).__name__}.",
                hint="Is somebody signed in here (az login), and may they use the resource?",
            ) from error

    def _default(self) -> Credential:
        from farthing.providers.entra import is_described

        described = _Described(self._name, self._environ, self._clock)
        if is_described(self._environ):
            return described
        try:
            kind = imported("credential", "default", "azure.identity:DefaultAzureCredential")
        except ConfigError:  # it is not installed
            return described
        credential: Credential = kind()
        return credential

    def _failed(self, error: FarthingError) -> FlowError:
        from farthing.providers.entra import is_described

        hint = error.hint or ""
        if isinstance(self._credential, _Described) and not is_described(self._environ):
            hint += f" Or, to ask as who is signed in here: {_INSTALL}."
        return FlowError(error.message, hint=hint)


class _Token(msgspec.Struct, frozen=True):
    token: str
    expires_on: float


class _Described:
    """The identity that the environment describes, or that the machine has."""

    def __init__(self, name: str, environ: Mapping[str, str], clock: Clock) -> None:
        self._name = name
        self._environ = environ
        self._clock = clock

    def get_token(self, *scopes: str) -> _Token:
        """See `Credential`. Raises UpstreamAuthError."""
        # A loop of its own, in a thread of its own: the caller may be on a loop that must not wait for itself.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, self._fetched(scopes[0])).result()

    async def _fetched(self, scope: str) -> _Token:
        from farthing.providers.entra import TokenSource

        source = TokenSource(
            self._name, scope=scope, environ=self._environ, clock=self._clock, kind="connection"
        )
        try:
            token = await source.fetch()
        finally:
            await source.aclose()
        return _Token(token.text.reveal(), self._clock.now() + token.lifetime_s)
