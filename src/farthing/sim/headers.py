"""Response headers: request ids, rate limits in each vendor's words, provisioned utilisation."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from farthing.sim.quota import Room, Ruling
from farthing.sim.scenario import Flavour

Headers = tuple[tuple[str, str], ...]


def identity(flavour: Flavour, request_id: str) -> Headers:
    """Who answers, under which id, and that it is a simulation."""
    named = {
        "openai": (("x-request-id", request_id),),
        "azure": (("apim-request-id", request_id), ("x-request-id", request_id)),
        "anthropic": (("request-id", request_id),),
        "google": (("x-request-id", request_id),),
    }[flavour]
    return (*named, ("x-farthing-simulated", "true"))


def rate_limits(flavour: Flavour, room: Room, now: float) -> Headers:
    """What is left. now: unix seconds, for Anthropic's absolute resets. Google states nothing."""
    if flavour == "google":
        return ()
    if flavour == "anthropic":
        tokens_at, requests_at = (
            _rfc3339(now + room.reset_tokens_s),
            _rfc3339(now + room.reset_requests_s),
        )
        figures: list[tuple[str, str]] = []
        for word in ("tokens", "input-tokens"):
            figures += _three(
                f"anthropic-ratelimit-{word}", room.limit_tokens, room.remaining_tokens, tokens_at
            )
        figures += _three(
            "anthropic-ratelimit-requests",
            room.limit_requests,
            room.remaining_requests,
            requests_at,
        )
        return tuple(figures)
    spell = _seconds if flavour == "azure" else _go_duration
    return (
        ("x-ratelimit-limit-tokens", str(room.limit_tokens)),
        ("x-ratelimit-remaining-tokens", str(room.remaining_tokens)),
        ("x-ratelimit-reset-tokens", spell(room.reset_tokens_s)),
        ("x-ratelimit-limit-requests", str(room.limit_requests)),
        ("x-ratelimit-remaining-requests", str(room.remaining_requests)),
        ("x-ratelimit-reset-requests", spell(room.reset_requests_s)),
    )


def retry(flavour: Flavour, seconds: float) -> Headers:
    """Retry-After in whole seconds, and exactly in milliseconds where the vendor says so."""
    if flavour == "google":
        return ()
    whole = ("retry-after", str(max(1, math.ceil(seconds))))
    if flavour == "anthropic":
        return (whole,)
    return (("retry-after-ms", str(max(1, math.ceil(seconds * 1000)))), whole)


def refusal(flavour: Flavour, ruling: Ruling) -> Headers:
    """The retry headers of a rejection."""
    return retry(flavour, ruling.retry_after_s)


def _three(prefix: str, limit: int, remaining: int, reset: str) -> list[tuple[str, str]]:
    return [
        (f"{prefix}-limit", str(limit)),
        (f"{prefix}-remaining", str(remaining)),
        (f"{prefix}-reset", reset),
    ]


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(math.ceil(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(value: float) -> str:
    return str(math.ceil(value))


def _go_duration(seconds: float) -> str:
    """OpenAI spells `6ms`, `1.5s`, `2m3s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    tail = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{tail}s" if minutes else f"{tail}s"
