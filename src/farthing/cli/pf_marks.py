"""What people say of runs afterwards: archived, another name, tags. Kept beside the project's database."""

from __future__ import annotations

from pathlib import Path

import msgspec

from farthing.core.errors import FlowError

_FILE = Path(".farthing") / "run-marks.json"


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of one run."""

    is_archived: bool = False
    display_name: str = ""
    description: str = ""
    tags: dict[str, str] = {}


def marks() -> dict[str, Mark]:
    """By the run's name. Raises FlowError for a file that was broken by hand."""
    try:
        return msgspec.json.decode(_FILE.read_bytes(), type=dict[str, Mark])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FlowError(
            f"{_FILE} cannot be read ({type(error).__name__}).", hint="Mend it or delete it."
        ) from error


def set_mark(name: str, mark: Mark | None) -> None:
    """Keep it, all of it or nothing; None forgets the run's."""
    known = marks()
    if mark is None and name not in known:
        return
    known.pop(name, None)
    if mark is not None:
        known[name] = mark
    _FILE.parent.mkdir(parents=True, exist_ok=True)
    beside = _FILE.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(known))
    beside.replace(_FILE)
