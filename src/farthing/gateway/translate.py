"""One request said in a provider's dialect, and its answer said back in the client's."""

from __future__ import annotations

import msgspec

from farthing.core.calls import Event, EventKind, Head, Request
from farthing.core.chat import Failed
from farthing.core.errors import FarthingError, UntranslatableError
from farthing.core.models import Deployment
from farthing.providers.usage_option import OPTED_DIALECTS
from farthing.wire.codec import Codec, StreamWriter
from farthing.wire.dialects import codec


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent. dropped: the fields of the request that the provider's dialect could not say."""

    dialect: str
    body: bytes
    is_translated: bool
    dropped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Prepared({self.dialect}, {len(self.body)} bytes)"


def prepare(request: Request, deployment: Deployment, spoken: tuple[str, ...]) -> Prepared:
    """The body for this deployment. spoken: dialects of the provider, preferred one first.

    In the same dialect only the model's name is replaced. Raises UntranslatableError, BadRequestError.
    """
    client = codec(request.dialect)
    if deployment.dialects:
        spoken = tuple(name for name in deployment.dialects if name in spoken)
    if request.dialect in spoken:
        body = _renamed(request, client, deployment.remote_name)
        return Prepared(dialect=request.dialect, body=body, is_translated=False)
    target = next((name for name in spoken if codec(name).kind == client.kind), None)
    if target is None or client.kind != "chat":
        raise UntranslatableError(
            f"Deployment '{deployment.name}' cannot answer a request in the dialect '{request.dialect}'.",
            hint=f"It speaks: {', '.join(spoken) or 'none for this kind of call'}.",
            deployment=deployment.name,
        )
    parsed = client.decode_request(request.body)
    parsed = msgspec.structs.replace(
        parsed,
        model=deployment.remote_name,
        stream=request.head.stream,
        include_usage=request.head.stream,
    )
    encoded = codec(target).encode_request(parsed)
    return Prepared(dialect=target, body=encoded.body, is_translated=True, dropped=encoded.dropped)


def _renamed(request: Request, client: Codec, model: str) -> bytes:
    span, body = request.head.model_span, request.body
    if span is None:
        return client.with_model(body, model)
    return b"".join((body[: span[0]], msgspec.json.encode(model), body[span[1] :]))


class AnswerTranslator:
    """Turns a provider's events into the client's, for one answer.

    Same dialect: events pass untouched, except usage that only we asked for. Another dialect: each event's
    deltas are written anew, once. dropped: the parts of a whole answer that the client's dialect cannot
    show; a stream's headers left before they are known.
    """

    def __init__(self, request: Request, prepared: Prepared, *, call_id: str, created: int) -> None:
        self._head: Head = request.head
        self._dialects = request.dialect, prepared.dialect  # client's and provider's
        self._is_translated = prepared.is_translated
        # The provider asks every stream for its usage, which the client sees only if it asked as well.
        asked = self._head.include_usage or request.dialect not in OPTED_DIALECTS
        self._hides_usage = not self._is_translated and not asked
        self._call_id = call_id
        self._created = created
        self._writer: StreamWriter | None = None
        self.dropped: tuple[str, ...] = ()

    def translate(self, event: Event) -> Event | None:
        """The client's form of one event, or None when there is nothing to send for it."""
        if not self._is_translated:
            return None if self._hides_usage and event.kind is EventKind.USAGE else event
        if event.kind is EventKind.WHOLE:
            client, provider = map(codec, self._dialects)
            completion = provider.decode_response(event.wire)
            if (
                completion.created is None
            ):  # Anthropic and Google tell no time, OpenAI's clients show one
                completion = msgspec.structs.replace(completion, created=self._created)
            encoded = client.encode_response(completion)
            self.dropped = encoded.dropped
            return Event(wire=encoded.body, kind=event.kind)
        writer = self._open_writer()
        wire = b"".join([writer.write(delta) for delta in event.deltas or ()])
        return Event(wire=wire, kind=event.kind) if wire else None

    def end(self) -> Event | None:
        """What a translated stream still owes its client after the last event of a complete answer."""
        if not self._is_translated or not self._head.stream:
            return None
        return Event(wire=self._open_writer().end(), kind=EventKind.END)

    def failure(self, error: FarthingError) -> Event:
        """The in-stream error for the client."""
        return Event(
            wire=self._open_writer().error(error),
            kind=EventKind.ERROR,
            deltas=(Failed(error=error),),
        )

    def _open_writer(self) -> StreamWriter:
        if self._writer is None:
            client = codec(self._dialects[0])
            self._writer = client.writer(self._head, call_id=self._call_id, created=self._created)
        return self._writer
