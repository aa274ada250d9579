"""`HttpProvider`: the shared half of every provider that is reached by HTTP; a vendor adds address and headers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import ClassVar
from urllib.parse import quote, urlsplit

import msgspec

from farthing.base.clock import Clock
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.core.errors import (
    ConfigError,
    FarthingError,
    UpstreamAuthError,
    UpstreamProtocolError,
)
from farthing.core.models import Deployment, Kind, Timeouts
from farthing.core.private import Private
from farthing.core.protocols import Answer, Attempt
from farthing.providers import credentials
from farthing.providers.answers import StreamedAnswer, WholeAnswer, error_status
from farthing.providers.connection import (
    MAX_ANSWER_BYTES,
    MAX_ERROR_BYTES,
    Exchange,
    RequestHead,
    Upstream,
)
from farthing.providers.usage_option import with_usage
from farthing.wire.codec import Codec
from farthing.wire.dialects import codec

#: Headers of every request, unless the vendor, the client or the settings say otherwise.
_DEFAULTS = {"content-type": "application/json", "user-agent": "farthing"}
#: Encoded heads of requests that a provider keeps.
_MAX_HEADS = 256
#: Timeouts of the free listing of models.
_LISTING = Timeouts(connect_s=5.0, first_byte_s=10.0, between_bytes_s=10.0, total_s=20.0)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where one attempt goes. url: complete and quoted. headers: lower-case names, with credentials.

    is_lasting: until `auth_rejected`, every attempt with the same remote name, dialect and stream flag goes
    there too, so that `target` need not be asked again.
    """

    url: str
    headers: dict[str, str]
    is_lasting: bool = False

    def __repr__(self) -> str:
        return f"Target({urlsplit(self.url).netloc})"


class HttpProvider(ABC):
    """A provider behind HTTP. A subclass says `native` dialects, `target` and, where it can, `listing`.

    Constructor arguments: name and settings of the provider's table, the environment (keys, proxies),
    and the clock. Nothing is connected before the first attempt. Raises ConfigError when the key or the
    address is missing or unusable.
    """

    #: The vendor's own address, without a slash at its end; empty when the settings must give one.
    default_base_url: ClassVar[str] = ""
    #: The vendor's usual variables for its key, the first one set counts.
    key_variables: tuple[str, ...] = ()
    #: Client headers that this vendor should see, lower case. Credentials are never passed on.
    passed_headers: ClassVar[frozenset[str]] = frozenset()
    #: kind of call → dialects it speaks natively, the preferred one first.
    native: ClassVar[Mapping[Kind, tuple[str, ...]]] = {}
    #: Whether its chat streams understand `stream_options.include_usage`.
    has_usage_option: bool = True

    def __init__(
        self, name: str, settings: ProviderSettings, environ: Mapping[str, str], clock: Clock
    ) -> None:
        self.name = name
        self.settings = settings
        self.environ = environ
        self.clock = clock
        self.base_url = base_url(name, settings.base_url or self.default_base_url)
        self._key: Private | None = None
        self._extra = credentials.extra_headers(settings.headers, environ)
        self._upstream = Upstream(name, max_connections=settings.max_connections, environ=environ)
        self._heads: dict[tuple[object, ...], tuple[Target, RequestHead]] = {}

    # --- what a vendor says ---

    @abstractmethod
    async def target(self, attempt: Attempt) -> Target:
        """Where this attempt goes and with which headers. May fetch a token. Raises UpstreamError."""

    async def listing(self) -> Target | None:
        """Where the vendor lists its models, free of charge; None when it doesn't."""
        return None

    def auth_rejected(self) -> None:
        """The vendor refused our credentials: forget them, they may have been rotated in their file."""
        self._key = None
        self._heads.clear()

    # --- the socket ---

    def dialects(self, deployment: Deployment, kind: Kind) -> tuple[str, ...]:
        """The codecs spoken natively, the preferred one first."""
        return self.native.get(kind, ())

    def open(self, attempt: Attempt) -> AbstractAsyncContextManager[Answer]:
        """Send the attempt; see `core.protocols.Provider.open`.

        A stream is asked to tell its usage whatever the client asked (`usage_option`), because the
        ledger needs it; the gateway takes the extra event out again.
        """
        return _Opening(self, attempt)

    def kept_head(self, attempt: Attempt) -> RequestHead | None:
        """The encoded head of an attempt whose like was made before, when its target lasts."""
        kept = self._heads.get(
            (attempt.deployment.remote_name, attempt.dialect, attempt.stream, attempt.headers)
        )
        return kept[1] if kept is not None and kept[0].is_lasting else None

    async def request_head(self, attempt: Attempt) -> RequestHead:
        """The encoded head, which is kept. Raises like `target`, and BadRequestError for bad headers."""
        target = await self.target(attempt)
        sort = (attempt.deployment.remote_name, attempt.dialect, attempt.stream, attempt.headers)
        kept = self._heads.get(sort)
        if kept is not None and kept[0] == target:
            return kept[1]
        passed = {name: value for name, value in attempt.headers if name in self.passed_headers}
        passed["accept"] = "text/event-stream" if attempt.stream else "application/json"
        passed.pop("x-client-request-id", None)
        headers = {**_DEFAULTS, **target.headers, **passed, **self._extra}
        head = RequestHead("POST", target.url, headers)
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()  # clients may send any value in the headers that are passed on
        self._heads[sort] = (target, head)
        return head

    def start(self, head: RequestHead, attempt: Attempt) -> Awaitable[Exchange]:
        """Send the attempt; see `Upstream.start`."""
        body = attempt.body
        if attempt.stream and self.has_usage_option:
            body = with_usage(body, attempt.dialect)
        return self._upstream.start(
            head,
            # OpenAI documents this name for finding a request again; to others it is one more header.
            b"x-client-request-id: %b\r\n" % attempt.call_id.encode("ascii"),
            body,
            attempt.timeouts,
            attempt.deployment.name,
        )

    def answer(self, exchange: Exchange, attempt: Attempt) -> WholeAnswer | StreamedAnswer | None:
        """The answer of an exchange that began well; None for a refusal and for what is no answer."""
        if not 200 <= exchange.status < 300:
            return None
        kind = exchange.content_type
        if attempt.stream:
            if kind in ("text/event-stream", ""):
                reader = codec(attempt.dialect).reader(want_deltas=attempt.want_deltas)
                return StreamedAnswer(exchange, reader)
        elif kind in ("application/json", "") or kind.endswith("+json"):
            return WholeAnswer(exchange, codec(attempt.dialect), limit=MAX_ANSWER_BYTES)
        return None

    async def failure(self, exchange: Exchange, attempt: Attempt) -> FarthingError:
        """The error for an exchange that brought no `answer`."""
        dialect = codec(attempt.dialect)
        if not 200 <= exchange.status < 300:
            return await self._refusal(exchange, dialect)
        kind = exchange.content_type
        if attempt.stream and (kind == "application/json" or kind.endswith("+json")):
            return await self._whole_instead(exchange, dialect)
        expected = "an event stream" if attempt.stream else "JSON"
        error = UpstreamProtocolError(
            f"Provider '{self.name}' answered with content type '{kind[:60]}' instead of {expected}.",
            hint=f"Is providers.{self.name}.base_url the address of the API, and no proxy in between?",
        )
        return exchange.place(error)

    async def models(self) -> tuple[str, ...]:
        """The names on the vendor's own list; empty when it has none. Raises UpstreamError."""
        target = await self.listing()
        if target is None:
            return ()
        async with self._upstream.exchange(
            target.url,
            method="GET",
            headers={**_DEFAULTS, **target.headers, **self._extra},
            timeouts=_LISTING,
        ) as exchange:
            if not 200 <= exchange.status < 300:
                raise await self._refusal(exchange, codec("openai-chat"))
            return _listed(exchange, await exchange.body(), self.name)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._upstream.aclose()

    # --- for vendors ---

    def required_key(self) -> str:
        """The key, for a header. Raises UpstreamAuthError naming the variable to set.

        It is an error of the attempt, not of the start: the other providers can still serve.
        """
        key = self.optional_key()
        if key is None:
            raise self._no_key(
                f"Provider '{self.name}' has no key: {' or '.join(self.key_variables)} is not set.",
                f'Set it, or write key = "env:NAME" under [providers.{self.name}]; '
                'a provider of type "sim" needs none.',
            )
        return key

    def optional_key(self) -> str | None:
        """The key if there is one, for vendors that also answer without. Raises like `required_key`."""
        if self._key is None:
            try:
                self._key = credentials.vendor_key(
                    self.settings.key, self.environ, self.key_variables
                )
            except ConfigError as error:
                raise self._no_key(
                    f"Provider '{self.name}' has no key. {error.message}", error.hint
                ) from error
        return self._key.reveal() if self._key else None

    def _no_key(self, message: str, hint: str | None) -> UpstreamAuthError:
        error = UpstreamAuthError(message, hint=hint, provider=self.name)
        error.was_sent = False
        return error

    # --- private ---

    async def _refusal(self, exchange: Exchange, dialect: Codec) -> FarthingError:
        body = await exchange.beginning(MAX_ERROR_BYTES)
        if exchange.status < 400:
            error: FarthingError = UpstreamProtocolError(
                f"Provider '{self.name}' answered with a redirect or status {exchange.status}.",
                hint=f"Check providers.{self.name}.base_url; redirects are not followed.",
            )
            return exchange.place(error)
        error = exchange.place(dialect.decode_error(exchange.status, exchange.headers, body))
        if isinstance(error, UpstreamAuthError):
            self.auth_rejected()
        return error

    async def _whole_instead(self, exchange: Exchange, dialect: Codec) -> FarthingError:
        """A stream was asked for and JSON came: an error under status 200, or a vendor's mistake."""
        body = await exchange.beginning(MAX_ERROR_BYTES)
        status = error_status(body)
        if status is not None:
            return exchange.place(dialect.decode_error(status, exchange.headers, body))
        return exchange.place(
            UpstreamProtocolError(
                f"Provider '{self.name}' answered with one JSON body where a stream was asked for."
            )
        )


class _Opening:
    """One attempt under way; left early, it hangs up."""

    __slots__ = ("_attempt", "_exchange", "_provider")

    def __init__(self, provider: HttpProvider, attempt: Attempt) -> None:
        self._provider = provider
        self._attempt = attempt
        self._exchange: Exchange | None = None

    async def __aenter__(self) -> WholeAnswer | StreamedAnswer:
        provider, attempt = self._provider, self._attempt
        head = provider.kept_head(attempt) or await provider.request_head(attempt)
        exchange = await provider.start(head, attempt)
        try:
            answer = provider.answer(exchange, attempt)
            if answer is None:
                raise await provider.failure(exchange, attempt)
        except BaseException:
            exchange.close()
            raise
        self._exchange = exchange
        return answer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._exchange is not None:
            self._exchange.close()


def base_url(name: str, text: str) -> str:
    """A provider's address without the slash at its end. Raises ConfigError when it is not http(s)."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"providers.{name}.base_url is {'missing' if not text else 'not an http or https address'}.",
            hint='Write it like "https://api.example.com/v1".',
        )
    if parts.username or parts.password:
        raise ConfigError(
            f"providers.{name}.base_url contains a user name or password.",
            hint=f'Use key = "env:NAME" or [providers.{name}.headers] for credentials.',
        )
    if "?" in text or "#" in text:
        raise ConfigError(
            f"providers.{name}.base_url contains a query, and paths are added to its end.",
            hint="Leave out what follows the ? or #; an Azure api-version has a setting of its own.",
        )
    return text.rstrip("/")


def path_segment(text: str) -> str:
    """A model or deployment name quoted as one segment of a path."""
    return quote(text, safe="")


class _Listed(msgspec.Struct):
    id: str = ""
    name: str = ""


class _Listing(msgspec.Struct):
    data: list[_Listed] = []
    models: list[_Listed] = []


def _listed(exchange: Exchange, body: bytes, provider: str) -> tuple[str, ...]:
    try:
        listing = msgspec.json.decode(body, type=_Listing)
    except msgspec.DecodeError:
        error = UpstreamProtocolError(
            f"Provider '{provider}' lists its models in a form that is not known."
        )
        raise exchange.place(error) from None
    names = (row.id or row.name.removeprefix("models/") for row in [*listing.data, *listing.models])
    return tuple(sorted({name for name in names if name}))
