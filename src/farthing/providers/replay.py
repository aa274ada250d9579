"""Recorded answers: a provider that repeats them exactly, and a wrapper that records them.

A folder holds one JSON file per request, named by the SHA-256 of the request in canonical form. Recording
stores prompts and answers as they are; that is its purpose, and why nothing records unless it is told to.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec

from farthing.base.clock import Clock
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.core.calls import Event, EventKind, Tally
from farthing.core.errors import ConfigError, UpstreamRejectedError
from farthing.core.models import Deployment, Kind
from farthing.core.private import PrivateStruct
from farthing.core.protocols import Answer, AnswerHead, Attempt, Provider
from farthing.wire.codec import Codec, StreamReader
from farthing.wire.dialects import codec

_FORMAT = 1


class Recording(PrivateStruct, frozen=True, kw_only=True):
    """One request and its answer. body: the whole JSON body, or the stream's bytes, as text.

    request: the canonical request, so that a person can see what was asked. status 200 only: errors are
    not recorded.
    """

    dialect: str
    model: str
    kind: Kind
    stream: bool
    request: msgspec.Raw
    body: str
    headers: tuple[tuple[str, str], ...] = ()
    request_id: str | None = None
    version: int = _FORMAT


def request_hash(dialect: str, body: bytes, *, model: str, stream: bool) -> str:
    """The name of a request's recording: SHA-256 over dialect, model, stream and canonical body.

    Canonical: object keys sorted, no white space, so that two clients that order keys differently share
    a recording. `model` is given apart because some dialects keep it in the path; the body's own is left
    out, because it carries the provider's name of the model. So is the option that asks for usage.
    """
    return hashlib.sha256(
        b"\n".join(
            [dialect.encode(), model.encode(), b"stream" if stream else b"whole", canonical(body)]
        )
    ).hexdigest()


def canonical(body: bytes) -> bytes:
    """The body with sorted keys and without `model`, `stream` and `stream_options`.

    A body that is no JSON object stands for itself.
    """
    try:
        members = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body
    if isinstance(members, dict):
        members = {
            k: v for k, v in members.items() if k not in ("model", "stream", "stream_options")
        }
    return msgspec.json.encode(members, order="deterministic")


class ReplayProvider:
    """Answers from the folder in `directory`; a request without a recording is refused, saying its hash."""

    def __init__(
        self, name: str, settings: ProviderSettings, environ: Mapping[str, str], clock: Clock
    ) -> None:
        if settings.directory is None:
            raise ConfigError(
                f"providers.{name}.directory is missing.",
                hint="A replay provider needs the folder with its recordings.",
            )
        self._name = name
        self._folder = Path(settings.directory)
        if not self._folder.is_dir():
            raise ConfigError(
                f"providers.{name}.directory: there is no folder {self._folder}.",
                hint="Correct the path, or record some answers into it first.",
            )
        self._recordings = {path.stem: _load(path) for path in sorted(self._folder.glob("*.json"))}

    def deployments(self) -> tuple[Deployment, ...]:
        """One deployment per recorded model."""
        kinds = {recording.model: recording.kind for recording in self._recordings.values()}
        return tuple(
            Deployment(
                name=f"{self._name}/{model}",
                provider=self._name,
                model=model,
                remote_name=model,
                kind=kind,
                is_simulated=True,
            )
            for model, kind in sorted(kinds.items())
        )

    def dialects(self, deployment: Deployment, kind: Kind) -> tuple[str, ...]:
        """The dialects in which answers of this model were recorded, sorted."""
        spoken = {
            recording.dialect
            for recording in self._recordings.values()
            if recording.model == deployment.model and recording.kind == kind
        }
        return tuple(sorted(spoken))

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Answer]:
        """The recording of this request. Raises UpstreamRejectedError on a miss."""
        name = request_hash(
            attempt.dialect, attempt.body, model=attempt.deployment.model, stream=attempt.stream
        )
        recording = self._recordings.get(name)
        if recording is None:
            raise UpstreamRejectedError(
                f"No recording {name} ({attempt.dialect}, {attempt.deployment.model}, "
                f"{'stream' if attempt.stream else 'whole'}) in {self._folder}.",
                hint="The request differs from every recorded one. Record it with "
                "farthing.providers.replay.RecordingProvider around the real provider.",
                provider=self._name,
                deployment=attempt.deployment.name,
                code="replay_miss",
            )
        dialect = codec(recording.dialect)
        head = AnswerHead(request_id=recording.request_id, headers=recording.headers)
        answer = ReplayedAnswer(recording, dialect, head, want_deltas=attempt.want_deltas)
        async with aclosing(answer.events):
            yield answer

    async def models(self) -> tuple[str, ...]:
        """The recorded models."""
        return tuple(sorted({recording.model for recording in self._recordings.values()}))

    async def aclose(self) -> None:
        """Nothing is open."""


class ReplayedAnswer:
    """A recorded answer, read by the same codec as a live one."""

    def __init__(
        self, recording: Recording, dialect: Codec, head: AnswerHead, *, want_deltas: bool
    ) -> None:
        self.head = head
        self._body = recording.body.encode("utf-8")
        self._dialect = dialect
        self._reader: StreamReader | None = None
        self._tally = Tally()
        if recording.stream:
            self._reader = dialect.reader(want_deltas=want_deltas)
        self.events = self._read()

    @property
    def tally(self) -> Tally:
        """Right for what was read."""
        return self._tally if self._reader is None else self._reader.tally

    async def _read(self) -> AsyncGenerator[Event]:
        if self._reader is None:
            self._tally = self._dialect.tally(self._body)
            yield Event(wire=self._body, kind=EventKind.WHOLE)
            return
        for event in self._reader.feed(self._body):
            yield event
        for event in self._reader.eof():
            yield event


class RecordingProvider:
    """Wraps a provider and writes every complete answer into a folder. It stores text: use it knowingly."""

    def __init__(self, inner: Provider, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def dialects(self, deployment: Deployment, kind: Kind) -> tuple[str, ...]:
        """As the wrapped provider."""
        return self._inner.dialects(deployment, kind)

    @asynccontextmanager
    async def open(self, attempt: Attempt) -> AsyncIterator[Answer]:
        """As the wrapped provider; an answer that was read to its end is recorded on the way out."""
        async with self._inner.open(attempt) as answer:
            tape = _Tape(answer)
            async with aclosing(tape.events):
                yield tape
            if tape.is_complete:
                self._write(attempt, answer.head, b"".join(tape.pieces))

    async def models(self) -> tuple[str, ...]:
        """As the wrapped provider."""
        return await self._inner.models()

    async def aclose(self) -> None:
        """Close the wrapped provider."""
        await self._inner.aclose()

    def _write(self, attempt: Attempt, head: AnswerHead, body: bytes) -> None:
        model = attempt.deployment.model
        name = request_hash(attempt.dialect, attempt.body, model=model, stream=attempt.stream)
        recording = Recording(
            dialect=attempt.dialect,
            model=model,
            kind=attempt.deployment.kind,
            stream=attempt.stream,
            request=msgspec.Raw(canonical(attempt.body)),
            body=body.decode("utf-8"),
            headers=head.headers,
            request_id=head.request_id,
        )
        text = msgspec.json.format(msgspec.json.encode(recording), indent=2)
        partial = self._folder / f"{name}.part"
        partial.write_bytes(text + b"\n")
        partial.replace(self._folder / f"{name}.json")


class _Tape:
    """An answer that keeps the bytes which pass."""

    def __init__(self, inner: Answer) -> None:
        self._inner = inner
        self.pieces: list[bytes] = []
        self.is_complete = False
        self.events = self._read()

    @property
    def head(self) -> AnswerHead:
        return self._inner.head

    @property
    def tally(self) -> Tally:
        return self._inner.tally

    async def _read(self) -> AsyncGenerator[Event]:
        has_failed = False
        async for event in self._inner.events:
            has_failed = has_failed or event.kind is EventKind.ERROR
            self.pieces.append(event.wire)
            yield event
        self.is_complete = not has_failed


def _load(path: Path) -> Recording:
    try:
        recording = msgspec.json.decode(path.read_bytes(), type=Recording)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"A recording cannot be read: {type(error).__name__}.",
            hint="Delete it or record it again.",
            path=str(path),
        ) from None
    if recording.version != _FORMAT:
        raise ConfigError(
            f"A recording has format {recording.version}; this release reads {_FORMAT}.",
            path=str(path),
        )
    return recording


build = ReplayProvider
