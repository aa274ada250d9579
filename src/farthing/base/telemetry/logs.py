"""Logging set-up: one readable line per record, with everything that looks like a key masked.

Other libraries log URLs, headers and exception texts; their records pass the same formatter. Exceptions
are shown as their types and code places. Their messages are dropped unless they are ours, because a
parser's message quotes what it parsed.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from typing import TextIO

from farthing.core.errors import FarthingError

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
#: Loggers that print bodies, headers or wire bytes at DEBUG; they stay at INFO whatever the setting.
_TALKATIVE = (
    "aiohttp",
    "asyncio",
    "hpack",
    "httpcore",
    "httpx",
    "openai",
    "urllib3",
    "opentelemetry",
)
_MASK = "***"

#: What a key looks like: vendors' prefixes, authorization values, passwords in URLs, JSON Web Tokens.
_SECRETS = re.compile(
    r"""
      \b(?:sk|pk|rk|fk|fa|gsk|hf|xai|pplx|r8|AIza|ghp|glpat|xox[abp])[-_][A-Za-z0-9_\-]{6,}
    | \bAIza[A-Za-z0-9_\-]{20,}
    | \bfarthing[-_][A-Za-z0-9_\-]{16,}
    | \beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*)?
    | (?P<scheme>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=\-]{4,}
    | (?P<name>(?:api[-_]?key|authorization|password|secret|x-goog-api-key|token|[?&](?:key|sig))
        ["']?\s*[:=]\s*["']?)(?!Bearer|Basic)[^\s"',;&}\])]{4,}
    | (?P<user>://[^/\s:@]*:)[^/\s@]+(?=@)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text with everything that looks like a secret replaced by `***`."""
    return _SECRETS.sub(_keep_label, text)


class SafeFormatter(logging.Formatter):
    """`2026-11-24 10:00:00 WARNING farthing.base.config: message`, masked, without exception messages."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        # A record's cached exc_text was made by another formatter and may hold messages.
        record.exc_text = None
        return masked(super().format(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        error = ei[1] if isinstance(ei, tuple) and len(ei) > 1 else None
        return describe_exception(error) if isinstance(error, BaseException) else ""


def describe_exception(error: BaseException) -> str:
    """Where it happened and what kind it was, cause after cause; foreign messages are left out.

    Files and lines are told, never the values of variables.
    """
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if lines:
            lines.append("caused by")
        said = f": {current}" if isinstance(current, FarthingError) else ""
        lines.append(f"{type(current).__module__}.{type(current).__qualname__}{said}")
        frames = traceback.extract_tb(current.__traceback__)
        lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
    return "\n".join(lines)


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send all logging of the process to standard error through `SafeFormatter`.

    level: `debug`, `info`, `warning` or `error`. Called once by a command, never by library code.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(SafeFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    logging.captureWarnings(capture=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(_LEVELS[level], logging.INFO))


def _keep_label(match: re.Match[str]) -> str:
    label = match["scheme"] or match["name"] or match["user"] or ""
    return f"{label}{_MASK}"
