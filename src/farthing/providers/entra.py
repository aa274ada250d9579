"""Microsoft Entra access tokens: client secret, workload identity, managed identity; cached and renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec

from farthing.base.clock import Clock
from farthing.core.errors import FarthingError, UpstreamAuthError, UpstreamError
from farthing.core.models import Timeouts
from farthing.core.private import Private
from farthing.providers.connection import MAX_ERROR_BYTES, Upstream

#: A token is renewed this long before it ends, seconds; until then a failed renewal is no failure.
RENEW_BEFORE_S = 300.0
#: A failed early renewal is not tried again before this, seconds.
RENEW_PAUSE_S = 30.0
_TIMEOUTS = Timeouts(connect_s=5.0, first_byte_s=15.0, between_bytes_s=15.0, total_s=20.0)
_LOGIN = "https://login.microsoftonline.com"
#: Azure's instance metadata service: reachable from virtual machines and most container hosts.
_METADATA = "http://169.254.169.254"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: Azure's clouds but the public one, by the suffix of an endpoint's host (Azure AI services authentication, 2025-10).
_CLOUDS = (".azure.us", ".azure.cn")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What Entra gave. lifetime_s: seconds for which it is good from now."""

    text: Private
    lifetime_s: float


def scope_of(endpoint: str, service: str = "cognitiveservices") -> str:
    """The scope to ask a token of, for an address of a service: it depends on the cloud.

    service: as the audience has it; `cognitiveservices` is that of models and of all AI services but search.
    """
    host = urlsplit(endpoint).hostname or ""
    cloud = next((each for each in _CLOUDS if host.endswith(each)), ".azure.com")
    return f"https://{service}{cloud}/.default"


def useful_s(lifetime_s: float) -> float:
    """For how long a token is used before another is fetched, seconds."""
    return max(lifetime_s - RENEW_BEFORE_S, lifetime_s / 2)


def is_described(environ: Mapping[str, str]) -> bool:
    """Whether the variables name an identity, so that the metadata service need not be asked for one."""
    has_client = bool(environ.get("AZURE_TENANT_ID") and environ.get("AZURE_CLIENT_ID"))
    proofs = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET")
    if has_client and any(environ.get(name) for name in proofs):
        return True
    return bool(environ.get("IDENTITY_ENDPOINT") and environ.get("IDENTITY_HEADER"))


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: int | str


class _Refusal(msgspec.Struct):
    error: str = ""


class _Fetch(msgspec.Struct, frozen=True):
    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""


class TokenSource:
    """Tokens for one scope, found the way Azure's own libraries do, in this order:

    AZURE_FEDERATED_TOKEN_FILE (workload identity) or AZURE_CLIENT_SECRET, each with AZURE_TENANT_ID and
    AZURE_CLIENT_ID; IDENTITY_ENDPOINT with IDENTITY_HEADER (App Service, Container Apps); the instance
    metadata service. AZURE_AUTHORITY_HOST names another cloud's login.
    """

    def __init__(
        self,
        provider: str,
        *,
        scope: str,
        environ: Mapping[str, str],
        clock: Clock,
        kind: str = "provider",
    ) -> None:
        """provider: whom the tokens are for. kind: what that is, for errors."""
        self._provider = provider
        self._who = f"{kind} '{provider}'"
        self._scope = scope
        self._environ = environ
        self._clock = clock
        self._upstream = Upstream(provider, max_connections=2, environ=environ)
        self._lock = asyncio.Lock()
        self._token: Private | None = None
        self._ends = 0.0
        self._renew_at = 0.0

    async def token(self) -> str:
        """A token that is good for a while. Raises UpstreamAuthError saying what Entra disliked."""
        if self._token is None or self._clock.monotonic() >= self._renew_at:
            async with self._lock:  # one renewal, however many calls wait for it
                if self._token is None or self._clock.monotonic() >= self._renew_at:
                    await self._renew()
        assert self._token is not None
        return self._token.reveal()

    async def fetch(self) -> Token:
        """A new token, which is not kept. Raises UpstreamAuthError."""
        answer = await self._ask(self._request())
        return Token(text=Private(answer.access_token), lifetime_s=float(answer.expires_in))

    def forget(self) -> None:
        """The token was refused: fetch another at the next call."""
        self._token = None

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._upstream.aclose()

    async def _renew(self) -> None:
        now = self._clock.monotonic()
        try:
            token = await self.fetch()
        except FarthingError:
            if self._token is not None and now < self._ends:
                self._renew_at = now + RENEW_PAUSE_S
                return  # the old one is still good; the next call tries again
            self._token = None
            raise
        self._token = token.text
        self._ends = now + token.lifetime_s
        self._renew_at = now + useful_s(token.lifetime_s)

    def _request(self) -> _Fetch:
        env = self._environ
        tenant, client = env.get("AZURE_TENANT_ID"), env.get("AZURE_CLIENT_ID")
        token_file, client_secret = (
            env.get("AZURE_FEDERATED_TOKEN_FILE"),
            env.get("AZURE_CLIENT_SECRET"),
        )
        if tenant and client and (token_file or client_secret):
            form = {"client_id": client, "scope": self._scope, "grant_type": "client_credentials"}
            if token_file:
                form |= {
                    "client_assertion_type": _ASSERTION_TYPE,
                    "client_assertion": self._read(token_file),
                }
            else:
                form |= {"client_secret": client_secret or ""}
            login = env.get("AZURE_AUTHORITY_HOST", _LOGIN).rstrip("/")
            if "://" not in login:
                login = f"https://{login}"
            headers = {"content-type": "application/x-www-form-urlencoded"}
            url = f"{login}/{tenant}/oauth2/v2.0/token"
            return _Fetch("POST", url, headers, urlencode(form).encode())
        query = {"resource": self._scope.removesuffix("/.default")} | (
            {"client_id": client} if client else {}
        )
        if env.get("IDENTITY_ENDPOINT") and env.get("IDENTITY_HEADER"):
            url = f"{env['IDENTITY_ENDPOINT']}?{urlencode({'api-version': '2019-08-01', **query})}"
            return _Fetch("GET", url, {"x-identity-header": env["IDENTITY_HEADER"]})
        host = env.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", _METADATA).rstrip("/")
        url = f"{host}/metadata/identity/oauth2/token?{urlencode({'api-version': '2018-02-01', **query})}"
        return _Fetch("GET", url, {"metadata": "true"})

    async def _ask(self, request: _Fetch) -> _Answer:
        try:
            async with self._upstream.exchange(
                request.url,
                method=request.method,
                headers=request.headers,
                body=request.body,
                timeouts=_TIMEOUTS,
            ) as exchange:
                body = await exchange.beginning(MAX_ERROR_BYTES)
                if exchange.status != 200:
                    raise self._refused(exchange.status, body)
        except UpstreamAuthError:
            raise
        except UpstreamError as error:
            raise self._failed(
                f"No Entra token for {self._who}: the token service could not be reached.",
                "Set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or run where a managed "
                "identity is assigned.",
            ) from error
        try:
            return msgspec.json.decode(body, type=_Answer)
        except msgspec.DecodeError:
            raise self._failed(
                f"No Entra token for {self._who}: the token service's answer has no token.",
                "Check AZURE_AUTHORITY_HOST and IDENTITY_ENDPOINT.",
            ) from None

    def _refused(self, status: int, body: bytes) -> UpstreamAuthError:
        try:
            word = msgspec.json.decode(body, type=_Refusal).error
        except msgspec.DecodeError:
            word = ""
        # Only OAuth's own error words are shown: `error_description` may quote what was sent.
        shown = f" ({word})" if word.isascii() and word.replace("_", "").isalpha() else ""
        return self._failed(
            f"Entra refused a token for {self._who} with status {status}{shown}.",
            "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret's expiry.",
        )

    def _read(self, token_file: str) -> str:
        try:
            # Kubernetes rotates this file; it is read at each renewal, about once an hour.
            return Path(token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._failed(
                f"No Entra token for {self._who}: AZURE_FEDERATED_TOKEN_FILE cannot be read.",
                "Is the workload identity webhook's volume mounted?",
            ) from error

    def _failed(self, message: str, hint: str) -> UpstreamAuthError:
        error = UpstreamAuthError(message, hint=hint, provider=self._provider)
        error.was_sent = False
        return error
