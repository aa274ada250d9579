"""What flows that import prompt flow's client get: names that can be imported, and say what does their work here."""

from __future__ import annotations

from typing import Any, NoReturn

from farthing.core.errors import FlowError


class PFClient:
    """Prompt flow's client. Flows import it for what they do when they are run as scripts; it is not made here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Raises FlowError."""
        _refuse("PFClient", "farthing flow run FLOW --data FILE, or farthing pf run create …")


def load_flow(*_: Any, **__: Any) -> NoReturn:
    """Load a flow as a function. Raises FlowError."""
    _refuse("load_flow", "farthing flow test FLOW, or serve it and post to /score")


def load_run(*_: Any, **__: Any) -> NoReturn:
    """Load the description of a run. Raises FlowError."""
    _refuse("load_run", "farthing pf run create --file FILE")


def _refuse(name: str, instead: str) -> NoReturn:
    raise FlowError(
        f"'{name}' of prompt flow's client was called, and the client's work is done by commands here.",
        hint=f"Use {instead}.",
    )
