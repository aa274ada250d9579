"""Where a connection's failures become ours: it knows whose answer this is and how long it may take."""

from __future__ import annotations

from farthing.core.errors import (
    FarthingError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from farthing.core.models import Timeouts
from farthing.wire.upstream.errors import (
    CertificateError,
    CompressionError,
    ConnectError,
    ConnectTimeoutError,
    NoAnswerError,
    NotHttpError,
    SilenceError,
    TooLargeError,
    WireError,
)


class Border:
    """One try at one provider. host: for messages. began, deadline: the loop's clock, seconds."""

    __slots__ = (
        "_request_id",
        "began",
        "deadline",
        "deployment",
        "host",
        "provider",
        "status",
        "timeouts",
    )

    def __init__(
        self, provider: str, deployment: str | None, host: str, timeouts: Timeouts, began: float
    ) -> None:
        self.provider = provider
        self.deployment = deployment
        self.host = host
        self.timeouts = timeouts
        self.began = began
        self.deadline = began + timeouts.total_s
        #: The answer's status; 0 before it has come.
        self.status = 0

    @property
    def request_id(self) -> str | None:
        """How the provider calls this request, if it says so."""
        return None

    def place(self, error: FarthingError, *, was_sent: bool | None = None) -> FarthingError:
        """The same error, with provider, deployment, request id and status filled in where empty."""
        if error.provider is None:
            error.provider = self.provider
            if error.message.startswith("The provider "):  # a codec's words: it cannot know which
                error.message = f"The provider '{self.provider}'" + error.message[12:]
        error.deployment = error.deployment or self.deployment
        error.request_id = error.request_id or self.request_id
        if error.upstream_status is None:
            error.upstream_status = self.status or None
        if was_sent is not None and isinstance(error, UpstreamError):
            error.was_sent = was_sent
        return error

    def no_slot(self, max_connections: int) -> FarthingError:
        """The error for a request that was never sent because all others took too long."""
        error = UpstreamTimeoutError(
            f"All {max_connections} connections to provider '{self.provider}' stayed busy for "
            f"{self.timeouts.first_byte_s:g} s.",
            hint=f"Raise providers.{self.provider}.max_connections.",
        )
        return self.place(error, was_sent=False)

    def before_head(self, failure: WireError, *, was_sent: bool) -> FarthingError:
        """The error for a request that got no answer."""
        who = f"Provider '{self.provider}' ({self.host})"
        if isinstance(failure, ConnectError):
            return self.place(self._unconnected(who, failure), was_sent=False)
        if isinstance(failure, SilenceError):
            error: FarthingError = UpstreamTimeoutError(
                f"{who} {self._ran_out(failure, 'first_byte_s', 'did not answer')}"
            )
        elif isinstance(failure, NotHttpError):
            error = UpstreamProtocolError(f"{who} gave an answer that is not HTTP.")
        else:
            error = UpstreamUnreachableError(f"{who} closed the connection before it answered.")
            if isinstance(failure, NoAnswerError) and failure.is_unsent:
                was_sent = False
        return self.place(error, was_sent=was_sent)

    def in_body(self, failure: WireError) -> FarthingError:
        """The error for an answer that went wrong after its head."""
        who = f"Provider '{self.provider}'"
        if isinstance(failure, SilenceError):
            text = self._ran_out(failure, "between_bytes_s", "sent nothing more")
            return self.place(UpstreamTimeoutError(f"{who} {text}"))
        if isinstance(failure, TooLargeError):
            size = f"{failure.limit // (1024 * 1024)} MB"
            text = f"{who} sent an answer of more than {size}; it was cut off."
            return self.place(UpstreamProtocolError(text))
        if isinstance(failure, CompressionError):
            text = (
                f"{who} sent an answer whose compression {failure.what}."
                if failure.what
                else f"{who} compressed its answer although it was asked not to."
            )
            return self.place(UpstreamProtocolError(text))
        return self.place(
            UpstreamTruncatedError(
                f"{who} closed the connection in the middle of its answer.",
                hint="What came before is incomplete; ask again.",
            )
        )

    def _unconnected(self, who: str, failure: ConnectError) -> FarthingError:
        base_url = f"providers.{self.provider}.base_url"
        if isinstance(failure, ConnectTimeoutError):
            return UpstreamTimeoutError(
                f"{who} could not be connected to within {self.timeouts.connect_s:g} s."
            )
        if isinstance(failure, CertificateError):
            return UpstreamUnreachableError(
                f"{who} showed a TLS certificate that could not be verified, or no TLS at all.",
                hint=f"Check {base_url} and this machine's certificate store.",
            )
        return UpstreamUnreachableError(
            f"{who} could not be reached: {failure.reason}.",
            hint=f"Is it running, and is {base_url} right?",
        )

    def _ran_out(self, failure: SilenceError, setting: str, what: str) -> str:
        if failure.is_total:
            return f"did not finish within {self.timeouts.total_s:g} s (timeouts.total_s)."
        return f"{what} within {getattr(self.timeouts, setting):g} s (timeouts.{setting})."
