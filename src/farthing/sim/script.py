"""Scripts: an answer as timed steps, so that one player serves sockets and another the process."""

from __future__ import annotations

from typing import Literal

from farthing.core.private import PrivateStruct

#: send: write the data. reset: RST. close: FIN without an end. hold: silence until the client leaves.
Act = Literal["send", "reset", "close", "hold"]


class Step(PrivateStruct, frozen=True):
    """Wait, then act. tokens: output tokens that exist once the wait is over. pause_s: wait after each
    byte of `data` (slow drip), else 0."""

    data: bytes = b""
    wait_s: float = 0.0
    tokens: int = 0
    act: Act = "send"
    is_content: bool = False
    pause_s: float = 0.0


class Script(PrivateStruct, frozen=True):
    """An answer about to be played.

    before: what happens instead of a head (`send`: the head is sent). steps: the body. length: the
    content-length to declare; None: the truth, or chunked when is_stream. is_ended: the terminal chunk
    is written (False leaves a chunked body open when the connection closes).
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    is_stream: bool = False
    head_wait_s: float = 0.0
    before: Act = "send"
    length: int | None = None

    @property
    def body(self) -> bytes:
        """All the data."""
        return b"".join(step.data for step in self.steps)

    def replace(self, **changes: object) -> Script:
        """A copy with some fields changed."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Script(**(fields | changes))
