"""The one error tree. Every error says what happened, to what, and what to do next.

FarthingError
├── ConfigError                  a settings file, variable or command-line value is wrong
├── StorageError                 the database cannot be read or written
│   ├── StorageVersionError      it was written by a newer Farthing
│   └── StorageLockedError       another process owns it
├── RequestError                 the caller's request cannot be served as it is (4xx)
│   ├── BadRequestError          malformed, or a field has a wrong value (400)
│   ├── UntranslatableError      a field has no equivalent in the provider's dialect (400)
│   ├── ContextTooLongError      more tokens than the model takes (400)
│   ├── PayloadTooLargeError     body over the limit (413)
│   ├── UnknownModelError        no such model, route or deployment (404)
│   ├── NotFoundError            no such path or object (404)
│   ├── ConflictError            an idempotency key or a name is already in use otherwise (409)
│   └── ContentFilteredError     the provider's filter refused the prompt (400)
├── AccessError                  the caller may not do this
│   ├── AuthenticationError      no key, an unknown, expired or revoked one (401)
│   ├── PermissionDeniedError    the key's scopes do not allow it (403)
│   └── BudgetExceededError      the call could cost more than a budget has left (402)
├── CapacityError                we cannot serve it now (429, 503)
│   ├── RateLimitedError         no deployment has quota left, or a rate is used up (429)
│   └── OverloadedError          this process is at its limit or shutting down (503)
├── FlowError                    a flow cannot be used as its files are, or one line of it failed
│   ├── FlowFormatError          a file of the flow is wrong; it says where
│   ├── FlowInputError           an input of a line is missing or of the wrong type (400)
│   └── NodeFailedError          a node of a line raised, timed out or returned what cannot be kept
├── UnknownPriceError            the price is not known and the operator chose to refuse such calls (400)
└── UpstreamError                the provider failed (502 unless said otherwise)
    ├── UpstreamUnreachableError refused, reset or unresolvable before an answer
    ├── UpstreamTimeoutError     silent for longer than the timeout (504)
    ├── UpstreamProtocolError    an answer that is not what the protocol promises
    ├── UpstreamTruncatedError   the answer stopped before its end
    ├── UpstreamRateLimitedError the provider's 429
    ├── UpstreamAuthError        the provider rejects *our* key (401 or 403 there, 502 here)
    ├── UpstreamRejectedError    the provider's other 4xx: its verdict on the request
    └── UpstreamServerError      the provider's 5xx
"""

from __future__ import annotations

from collections.abc import Iterable


class FarthingError(Exception):
    """The root. `str(error)` is one or more sentences that can be shown to the caller.

    code: stable, for programs. hint: what to do next. status: the HTTP status a face answers with.
    retryable: whether the same call may succeed later or elsewhere without change. param: the field of
    the request that is at fault. provider, deployment, request_id: where it happened, when known.
    retry_after_s: seconds after which a retry makes sense. upstream_status: the provider's own status.

    No message ever carries text of a prompt, an answer or a key.
    """

    code = "farthing_error"
    status = 500
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        provider: str | None = None,
        deployment: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        upstream_status: int | None = None,
        upstream_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param
        self.provider = provider
        self.deployment = deployment
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.upstream_status = upstream_status
        self.upstream_code = upstream_code
        #: The call it belongs to; set by the gateway, so that faces can name it to the caller.
        self.call_id: str | None = None
        #: Whether the request may have reached the provider (and so may be billed); transports clear it.
        self.was_sent = True
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class _Placed:
    """Something in a file is wrong. `path`, `line` and `column` (from 1) point there, as far as is known."""

    path: str | None = None
    line: int | None = None
    column: int | None = None

    def _place(self, path: str | None, line: int | None, column: int | None) -> None:
        self.path, self.line, self.column = path, line, column

    def __str__(self) -> str:
        place = ":".join(str(p) for p in (self.path, self.line, self.column) if p is not None)
        return f"{place}: {super().__str__()}" if place else super().__str__()


class ConfigError(_Placed, FarthingError):
    """Settings are wrong. `path`, `line` and `column` (from 1) point into the file when there is one."""

    code = "config_invalid"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self._place(path, line, column)


class StorageError(FarthingError):
    """The database cannot be read or written."""

    code = "storage_failed"
    status = 503
    retryable = True


class StorageVersionError(StorageError):
    """The database was written by a newer Farthing."""

    code = "storage_version"
    retryable = False


class StorageLockedError(StorageError):
    """Another process owns the database."""

    code = "storage_locked"
    retryable = False


class RequestError(FarthingError):
    """The request cannot be served as it is."""

    code = "invalid_request"
    status = 400


class BadRequestError(RequestError):
    """The request is malformed or a field has a wrong value."""


class UntranslatableError(RequestError):
    """A field would change the meaning of the answer and the provider's dialect cannot say it."""

    code = "untranslatable"


class ContextTooLongError(RequestError):
    """The input, with the answer asked for, is longer than the model's context."""

    code = "context_length_exceeded"


class PayloadTooLargeError(RequestError):
    """The body is larger than the limit in the settings."""

    code = "payload_too_large"
    status = 413


class UnknownModelError(RequestError):
    """No model, route or deployment of that name is configured."""

    code = "model_not_found"
    status = 404


class NotFoundError(RequestError):
    """No such path or object."""

    code = "not_found"
    status = 404


class ConflictError(RequestError):
    """A name or idempotency key is already in use for something else."""

    code = "conflict"
    status = 409


class ContentFilteredError(RequestError):
    """The provider's content filter refused the prompt."""

    code = "content_filter"


class AccessError(FarthingError):
    """The caller may not do this."""

    code = "access_denied"
    status = 403


class AuthenticationError(AccessError):
    """No key was given, or it is unknown, expired or revoked."""

    code = "invalid_api_key"
    status = 401


class PermissionDeniedError(AccessError):
    """The key is good, its scopes do not allow this."""

    code = "permission_denied"


class BudgetExceededError(AccessError):
    """The call could cost more than a budget has left. Nothing was sent, nothing is charged.

    left_nanodollars: what the budget has left. remedy: how to raise it, completing "…, or …".
    """

    code = "budget_exceeded"
    status = 402

    def __init__(self, message: str, *, left_nanodollars: int = 0, remedy: str = "") -> None:
        super().__init__(message, hint=f"Try a cheaper call, or {remedy}." if remedy else None)
        self.left_nanodollars = left_nanodollars
        self.remedy = remedy


class CapacityError(FarthingError):
    """It cannot be served now; it can be served later."""

    code = "no_capacity"
    status = 503
    retryable = True


class RateLimitedError(CapacityError):
    """Every deployment that could serve the call is out of quota, or a rate of the settings is used up."""

    code = "rate_limit_exceeded"
    status = 429


class OverloadedError(CapacityError):
    """This process is at its limit, or is shutting down."""

    code = "overloaded"


class UnknownPriceError(FarthingError):
    """The price is not known and `ledger.unknown_price` is `refuse`."""

    code = "unknown_price"
    status = 400


class UpstreamError(FarthingError):
    """The provider failed. Retryable unless a subclass says otherwise.

    was_sent: whether bytes of the request may have reached the provider (it may then bill them).
    """

    code = "upstream_failed"
    status = 502
    retryable = True
    was_sent = True


class UpstreamUnreachableError(UpstreamError):
    """No connection, or it was reset before an answer began."""

    code = "upstream_unreachable"


class UpstreamTimeoutError(UpstreamError):
    """The provider was silent for longer than the timeout."""

    code = "upstream_timeout"
    status = 504


class UpstreamProtocolError(UpstreamError):
    """The answer is not what the protocol promises (HTML, broken JSON, wrong length)."""

    code = "upstream_protocol"


class UpstreamTruncatedError(UpstreamError):
    """The answer stopped before its end. What came before it is incomplete."""

    code = "upstream_truncated"


class UpstreamRateLimitedError(UpstreamError):
    """The provider answered 429."""

    code = "upstream_rate_limited"
    status = 429


class UpstreamAuthError(UpstreamError):
    """The provider rejects our key; the caller's own key is fine."""

    code = "upstream_auth"
    retryable = False


class UpstreamRejectedError(UpstreamError):
    """The provider's verdict that the request itself is wrong (other 4xx)."""

    code = "upstream_rejected"
    status = 400
    retryable = False


class UpstreamServerError(UpstreamError):
    """The provider answered 5xx."""

    code = "upstream_server_error"


#: Longer words are nobody's slip of the pen, characters.
LONGEST_NAME = 200


def nearest(word: str, known: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """The known words most like `word`, best first, for "did you mean". A very long word has none."""
    if len(word) > LONGEST_NAME:  # comparing takes time that grows with its length
        return ()
    from difflib import get_close_matches  # most commands need none

    return tuple(get_close_matches(word, sorted(known), n=limit, cutoff=0.5))


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`Did you mean 'a' or 'b'?`, or None when nothing is near."""
    near = nearest(word, known)
    if not near:
        return None
    quoted = [f"'{name}'" for name in near]
    listing = quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" or {quoted[-1]}"
    return f"Did you mean {listing}?"


class FlowError(FarthingError):
    """A flow cannot run. node: the node at fault, when it is one."""

    code = "flow_error"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        node: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, param=param)
        self.node = node


class FlowFormatError(_Placed, FlowError):
    """A file of a flow is wrong. `path`, `line`, `column` (from 1) say where; `field` is the key at fault."""

    code = "flow_invalid"
    status = 400

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        node: str | None = None,
        field: str | None = None,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, node=node)
        self.field = field
        self._place(path, line, column)


class FlowInputError(FlowError):
    """An input of a line is missing or of the wrong type. `param` names it."""

    code = "flow_input_invalid"
    status = 400


class NodeFailedError(FlowError):
    """A node failed. cause: the type of the exception; the user's own text stays out of the message."""

    code = "node_failed"

    def __init__(
        self, message: str, *, hint: str | None = None, node: str | None = None, cause: str = ""
    ) -> None:
        super().__init__(message, hint=hint, node=node)
        self.cause = cause
