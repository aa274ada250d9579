"""How long a provider asks us to wait, in every form that vendors say it."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def retry_after_s(headers: dict[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` (the finer one) or `retry-after`; None when neither is said.

    headers: lower-case names. A date in `retry-after` needs a clock to be read and counts as unsaid.
    """
    fine = _number(headers.get("retry-after-ms"))
    if fine is not None:
        return fine / 1000
    return _number(headers.get("retry-after"))


def duration_s(text: str) -> float | None:
    """Seconds of a written duration: `12s`, `1.5s`, `6m0s`, `20ms`."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        return None
    hours, minutes, seconds, millis = (float(group or 0) for group in found.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 1e9 else None
