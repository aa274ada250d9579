"""What a try can cost before it is made, and what it did cost afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from farthing.base.tokens import estimate_tokens, upper_bound_tokens
from farthing.core.calls import Head, Request, Tally
from farthing.core.models import Deployment
from farthing.core.prices import TIERS, cost, tier_name, upper_bound
from farthing.core.usage import Usage

#: Inline media: base64 runs this long are not text. Their tokens are bounded per piece instead.
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/=_-]{1024,}")
#: No vendor is known to bill more for one image or page of a document. gpt-4o-mini reaches 48,169 for one
#: high-detail image: 2,833 and 5,667 for each of up to eight tiles (from memory, unverified).
MEDIA_TOKENS = 50_000
#: The output bound of a deployment whose limits nobody stated.
UNKNOWN_OUTPUT_TOKENS = 32_768
#: Visible characters per token, low enough that an estimate of output errs upwards for English.
CHARACTERS_PER_TOKEN = 3.5


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds of the tokens of one try."""

    input_tokens: int
    output_tokens: int


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What one try cost.

    unconfirmed_nanodollars: what the vendor may still bill beyond `nanodollars`, because it did not report
    usage; it stays reserved.
    """

    usage: Usage
    nanodollars: int
    tier: str
    unconfirmed_nanodollars: int = 0


def bounds(request: Request, deployment: Deployment) -> Bounds:
    """The most tokens that this request can use there.

    Input: every token has at least one byte, so text is bounded by its size; inline media by
    `MEDIA_TOKENS` each; both by the model's context where that is known.
    """
    head = request.head
    media = _BASE64_RUN.findall(request.body) if len(request.body) > 1024 else []
    text_bytes = len(request.body) - sum(map(len, media))
    input_tokens = upper_bound_tokens(text_bytes) + MEDIA_TOKENS * len(media)
    if "images" in head.features or "files" in head.features:
        input_tokens += MEDIA_TOKENS * request.body.count(b"http")
    if deployment.context_tokens is not None:
        input_tokens = min(input_tokens, deployment.context_tokens)
    return Bounds(input_tokens=input_tokens, output_tokens=_output_bound(head, deployment))


def most(request: Request, deployment: Deployment) -> int:
    """The most nanodollars that one try there can cost; 0 where no price is known.

    A provisioned deployment with a price may spill over to metered capacity, so its bound is the same.
    """
    if deployment.price is None:
        return 0
    limit = bounds(request, deployment)
    tier = request.head.service_tier
    tiers = [t for t in TIERS if t in deployment.price.tiers] if tier == "auto" else [tier]
    return max(
        upper_bound(
            deployment.price,
            input_tokens=limit.input_tokens,
            output_tokens=limit.output_tokens,
            tier=tier,
        )
        for tier in tiers
    )


def affordable_output(request: Request, deployments: Sequence[Deployment], left: int) -> int:
    """The largest bound on output tokens with which the call fits into `left` nanodollars, or 0."""

    def fits(output_tokens: int) -> bool:
        head = msgspec.structs.replace(request.head, max_output_tokens=output_tokens)
        smaller = msgspec.structs.replace(request, head=head)
        return max((most(smaller, each) for each in deployments), default=0) <= left

    low, high = 0, UNKNOWN_OUTPUT_TOKENS * 8
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def confirmed(
    request: Request, deployment: Deployment, tally: Tally, *, has_spilled: bool = False
) -> Charge:
    """The charge of an answer that reported its usage: the vendor's invoice formula.

    has_spilled: a provisioned deployment passed the call on to metered capacity, which is paid by token.
    """
    usage = tally.usage or Usage()
    tier = _tier(request.head, tally)
    nanodollars = _price(deployment, usage, tier, has_spilled=has_spilled)
    return Charge(usage=usage, nanodollars=nanodollars, tier=tier)


def estimated(
    request: Request,
    deployment: Deployment,
    tally: Tally,
    *,
    at_most: int,
    has_spilled: bool = False,
) -> Charge:
    """The charge of an answer that ended without usage: counted from what was seen, and marked.

    at_most: what was reserved for this try. The difference stays held until the vendor's figure is known.
    """
    seen = tally.usage or Usage()
    input_tokens = seen.input_tokens or estimate_tokens(request.body, deployment.model)
    spoken = round(tally.output_characters / CHARACTERS_PER_TOKEN)
    usage = msgspec.structs.replace(
        seen,
        input_tokens=input_tokens,
        output_tokens=max(seen.output_tokens, spoken),
        is_estimated=True,
    )
    tier = _tier(request.head, tally)
    nanodollars = min(_price(deployment, usage, tier, has_spilled=has_spilled), at_most)
    if deployment.is_provisioned and not has_spilled:
        at_most = 0
    return Charge(
        usage=usage,
        nanodollars=nanodollars,
        tier=tier,
        unconfirmed_nanodollars=max(0, at_most - nanodollars),
    )


def unknown(*, at_most: int) -> Charge:
    """The charge of a try whose fate is unknown: nothing booked, all of it held."""
    usage = Usage(is_estimated=True)
    return Charge(usage=usage, nanodollars=0, tier="standard", unconfirmed_nanodollars=at_most)


def nothing() -> Charge:
    """The charge of a try that the vendor refused or never saw."""
    return Charge(usage=Usage(), nanodollars=0, tier="standard")


def _price(deployment: Deployment, usage: Usage, tier: str, *, has_spilled: bool) -> int:
    if deployment.price is None or (deployment.is_provisioned and not has_spilled):
        return 0
    return cost(usage, deployment.price, tier=tier)


def _tier(head: Head, tally: Tally) -> str:
    """A known tier. Any other word may be a caller's own text: it is priced as standard and not kept."""
    name = tier_name(tally.service_tier or head.service_tier)
    return name if name in TIERS else "standard"


def _output_bound(head: Head, deployment: Deployment) -> int:
    if head.kind == "embed":
        return 0
    limit = deployment.max_output_tokens or deployment.context_tokens or UNKNOWN_OUTPUT_TOKENS
    asked = head.max_output_tokens
    return max(1, head.n) * (limit if asked is None else min(asked, limit) if limit else asked)
