"""Errors of ours on their way from one process to another, and what is told of a process that has ended."""

from __future__ import annotations

import signal
from typing import Any

import msgspec

from farthing.core import errors
from farthing.core.errors import FarthingError, NodeFailedError

#: The tree's classes; an error of another class travels as the nearest of them.
_KINDS: dict[str, type[FarthingError]] = {
    name: thing
    for name, thing in vars(errors).items()
    if isinstance(thing, type) and issubclass(thing, FarthingError)
}
_OF_THE_CLASS = ("code", "status", "retryable")
#: Signals that a worker tells of on standard error as it ends.
_CRASHES = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An error as another process is told of it. kind: a class of the tree. fields: its plain attributes."""

    kind: str
    message: str
    fields: dict[str, str | int | float | bool | None]


def told(error: FarthingError) -> Told:
    """What to say of the error. Its cause stays where it was raised."""
    kind = next(each.__name__ for each in type(error).__mro__ if _KINDS.get(each.__name__) is each)
    plain = str | int | float | bool | None
    found = {**{name: getattr(error, name) for name in _OF_THE_CLASS}, **vars(error)}
    fields = {
        name: _text(value) if isinstance(value, str) else value
        for name, value in found.items()
        if isinstance(value, plain)
    }
    return Told(kind=kind, message=_text(error.message), fields=fields)


def raised(said: Told) -> FarthingError:
    """The error that was told of."""
    kind: Any = _KINDS[said.kind]
    # Each class takes other arguments; what they set is in the fields.
    error: FarthingError = kind.__new__(kind, said.message)
    vars(error).update(said.fields)
    return error


def ended(what: str, code: int | None) -> NodeFailedError:
    """A process ended that should not have. what: its work, `line 7`. code: as `Popen.returncode` has it."""
    if code is None or code >= 0:
        how, cause = f"exit code {code or 0}", "SystemExit"
        hint = "Code of the flow, or a library of it, has called os._exit or the like."
    else:
        cause = _name(-code)
        how = f"signal {-code} ({cause})"
        hint = "Somebody has sent it that signal."
        if cause == "SIGKILL":
            hint = "Somebody killed it: so does the system when memory runs out."
        elif cause in _CRASHES:
            hint = "It crashed in compiled code; where it was is on standard error above."
    return NodeFailedError(f"The process of {what} ended with {how}.", hint=hint, cause=cause)


def _text(text: str) -> str:
    """A text that travels: halves of characters, as names of files may have, are written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
