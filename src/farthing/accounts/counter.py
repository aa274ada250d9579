"""The counter: a host's rates without its money, for databases that are somewhere else."""

from __future__ import annotations

from pathlib import Path

from farthing.accounts import rates
from farthing.accounts.holds import Hold
from farthing.accounts.rates import Charge, Rates
from farthing.base.clock import Clock
from farthing.base.storage import board as boards
from farthing.base.storage.board import Board
from farthing.core.errors import OverloadedError

#: Where its board is, in the project's folder: all processes of the project on this host share it.
PLACE = Path(".farthing") / "rates.board"
_TIMEOUT_S = 1.0


class Counter:
    """Takes of the rates, and gives back. It opens its board only when the settings have rates."""

    def __init__(self, limits: Rates, clock: Clock, *, path: Path = PLACE) -> None:
        self._rates = limits
        self._clock = clock
        self._path = path
        self._board: Board | None = None

    def open(self) -> None:
        """Map the board, if there are rates. Raises StorageError."""
        if not self._rates.is_any or self._board is not None or not boards.IS_AVAILABLE:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        board = Board(self._path, nonce=int.from_bytes(self._clock.token_bytes(4), "big"))
        board.open(timeout_s=_TIMEOUT_S)
        self._board = board
        self.place()

    def close(self) -> None:
        """Unmap it."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def place(self) -> None:
        """Settings have changed: find the words of each limit."""
        if self._board is None:
            self.open()
            return
        self._board.lock(_TIMEOUT_S)
        try:
            self._rates.place(self._board)
        finally:
            self._board.unlock()

    def take(self, wish: Hold) -> tuple[Charge, ...]:
        """Take a call of its rates. Raises RateLimitedError."""
        limits = [
            each for each in self._rates.limits if each.matches(wish.caller, wish.model, wish.tags)
        ]
        if not limits or self._board is None:
            return ()
        if not self._board.try_lock():
            raise OverloadedError("The rates are busy.", hint="Try again.", retry_after_s=0.01)
        try:
            now_ns = int(self._clock.now() * 1e9)
            charges = rates.ask(self._board.words, limits, tokens=wish.tokens, now_ns=now_ns)
            rates.take(self._board.words, charges)
            return charges
        finally:
            self._board.unlock_quick()

    def correct(self, charges: tuple[Charge, ...], *, tokens: int | None) -> None:
        """See `rates.correct`. While the board is busy nothing is given back, which errs to the safe side."""
        if not charges or self._board is None or not self._board.try_lock():
            return
        try:
            now_ns = int(self._clock.now() * 1e9)
            rates.correct(self._board.words, charges, tokens=tokens, now_ns=now_ns)
        finally:
            self._board.unlock_quick()
