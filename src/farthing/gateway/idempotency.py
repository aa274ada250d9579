"""Idempotency keys: a repeated request gets the first one's answer and is not charged again."""

from __future__ import annotations

from collections import OrderedDict

from farthing.base.clock import Clock
from farthing.core.errors import ConflictError
from farthing.gateway.cache import Cached

#: How long an answer is kept for its repetition.
KEPT_S = 3600.0
#: Answers kept at most, and their bytes at most; the oldest go first.
KEPT_ANSWERS = 10_000
KEPT_BYTES = 64 * 1024 * 1024


class IdempotencyStore:
    """Answers by caller and key, in the memory of this process.

    While the first request runs, a second with the same key gets a conflict. A failed first request frees
    the key. After a restart the memory is gone: the key is then new.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[tuple[str, str], bytes] = {}
        self._answers: OrderedDict[tuple[str, str], tuple[bytes, Cached]] = OrderedDict()
        self._size = 0

    def begin(self, key_id: str, key: str, fingerprint: bytes) -> Cached | None:
        """Claim the key, or return the answer that it already has.

        fingerprint: hash of the whole request. Raises ConflictError when the first request still runs, or
        was a different request.
        """
        slot = (key_id, key)
        self._expire()
        running = self._running.get(slot)
        done = self._answers.get(slot)
        if (running or fingerprint) != fingerprint or (done and done[0] != fingerprint):
            raise ConflictError(
                "This Idempotency-Key was used for a different request.",
                hint="Use a new key for each new request.",
                param="Idempotency-Key",
            )
        if running is not None:
            raise ConflictError(
                "The first request with this Idempotency-Key is still running.",
                hint="Repeat it once that one has ended.",
                param="Idempotency-Key",
            )
        if done is not None:
            return done[1]
        self._running[slot] = fingerprint
        return None

    def finish(self, key_id: str, key: str, answer: Cached | None) -> None:
        """The first request is over. answer None: it failed, the key is free again."""
        slot = (key_id, key)
        fingerprint = self._running.pop(slot, None)
        if fingerprint is None or answer is None:
            return
        self._answers[slot] = (fingerprint, answer)
        self._size += answer.size
        while len(self._answers) > KEPT_ANSWERS or self._size > KEPT_BYTES:
            self._drop(next(iter(self._answers)))

    def _expire(self) -> None:
        horizon = self._clock.now() - KEPT_S
        while self._answers:
            slot, (_, answer) = next(iter(self._answers.items()))
            if answer.stored_at_s >= horizon:
                return
            self._drop(slot)

    def _drop(self, slot: tuple[str, str]) -> None:
        _, answer = self._answers.pop(slot)
        self._size -= answer.size
