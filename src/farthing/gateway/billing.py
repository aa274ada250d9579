"""What a try can cost before it is made, and what it did cost afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from farthing.base.tokens import estimate_tokens, upper_bound_tokens
from farthing.core.calls import Head, InputSize, Request, Tally
from farthing.core.models import Deployment
from farthing.core.prices import TIERS, ceiling, cost, tier_name
from farthing.core.usage import Usage

#: Inline media: base64 runs this long are not text. Their tokens are bounded per piece instead. A match
#: begins only where a run does, or a body of runs that are a little shorter would take quadratic time.
_BASE64_RUN = re.compile(rb"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/=_-]{1024,}")
#: Input that the vendor adds and the body does not show: a stored conversation, prompt, cache or file, and
#: what its own tools fetch.
_UNSEEN_INPUT = re.compile(
    rb'"(?:previous_response_id|conversation|cachedContent|cached_content|file_id|file_?[uU]ri)"\s*:\s*["{]'
    rb'|"(?:prompt|googleSearch|google_search|urlContext|url_context|web_search_options)"\s*:\s*\{'
    rb'|"type"\s*:\s*"(?:web_search|web_fetch|file_search|code_|mcp|computer)'
)
#: No vendor is known to bill more for one image or page of a document. gpt-4o-mini reaches 48,169 for one
#: high-detail image: 2,833 and 5,667 for each of up to eight tiles (from memory, unverified).
MEDIA_TOKENS = 50_000
#: Bytes of a JSON body for each token of it, for a first guess (English, code: 3.5 to 4.5).
BYTES_PER_TOKEN = 4
#: Usage beyond this is a mistake of the vendor's, not a bill.
MOST_TOKENS = 1_000_000_000
#: The output bound of a deployment whose limits nobody stated.
UNKNOWN_OUTPUT_TOKENS = 32_768
#: The bound of input that the body does not show, for a model whose context nobody stated.
UNKNOWN_INPUT_TOKENS = 200_000
#: Visible characters per token, low enough that an estimate of output errs upwards for English.
CHARACTERS_PER_TOKEN = 3.5


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds of the tokens of one try."""

    input_tokens: int
    output_tokens: int


class Terms:
    """What one deployment can charge at most: what its limits and price say, worked out once."""

    __slots__ = ("_context", "_output", "_price", "_standard")

    def __init__(self, deployment: Deployment) -> None:
        self._price = deployment.price
        self._context = deployment.context_tokens
        self._output = (
            deployment.max_output_tokens or deployment.context_tokens or UNKNOWN_OUTPUT_TOKENS
        )
        self._standard = None if deployment.price is None else ceiling(deployment.price)

    def are(self, other: Terms) -> bool:
        """Whether both bound every call alike."""
        mine = (self._context, self._output, self._price)
        return mine == (other._context, other._output, other._price)

    def input_tokens(self, size: InputSize) -> int:
        """Every token has at least one byte, so text is bounded by its size; images by `MEDIA_TOKENS`
        each; documents, recordings and what the vendor adds by nothing but the model's context."""
        tokens = upper_bound_tokens(size.text_bytes) + MEDIA_TOKENS * size.media_parts
        context = self._context
        if size.is_open:
            return context or max(tokens, UNKNOWN_INPUT_TOKENS)
        return tokens if context is None or tokens < context else context

    def output_tokens(self, head: Head) -> int:
        """What was asked for, as far as the model can answer that much."""
        if head.kind == "embed":
            return 0
        asked, limit = head.max_output_tokens, self._output
        # Some local servers read 0 and -1 as "no limit", and a negative bound would make room in a budget.
        if asked is not None and 1 <= asked < limit:
            limit = asked
        return limit if head.n <= 1 else head.n * limit

    def most(self, head: Head, size: InputSize) -> int:
        """The most nanodollars that one try can cost; 0 where no price is known."""
        return self.dearest(head, self.input_tokens(size), self.output_tokens(head))

    def dearest(self, head: Head, inputs: int, outputs: int) -> int:
        """The most nanodollars of so many tokens.

        A provisioned deployment with a price may spill over to metered capacity: its bound is the same.
        """
        price, standard = self._price, self._standard
        if price is None or standard is None:
            return 0
        # A vendor without room in the tier that was asked for answers in the standard one, and says so.
        most = standard.nanodollars(inputs, outputs)
        if head.service_tier is None:
            return most
        tiers = TIERS if head.service_tier == "auto" else (tier_name(head.service_tier),)
        priced = [ceiling(price, tier) for tier in tiers if tier in price.tiers]
        return max([most, *(each.nanodollars(inputs, outputs) for each in priced)])


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What one try cost.

    unconfirmed_nanodollars: what the vendor may still bill beyond `nanodollars`, because it did not report
    usage; it stays reserved.
    """

    usage: Usage
    nanodollars: int
    tier: str
    unconfirmed_nanodollars: int = 0


def input_size(request: Request) -> InputSize:
    """How large the input is: as the codec saw it, else found by looking through the body."""
    if request.head.input is not None:
        return request.head.input
    body, features = request.body, request.head.features
    media = _BASE64_RUN.findall(body) if features & {"images", "files", "audio"} else []
    links = body.count(b"http") if "images" in features else 0
    return InputSize(
        text_bytes=len(body) - sum(map(len, media)),
        media_parts=len(media) + links,
        is_open=bool(features & {"files", "audio"}) or _UNSEEN_INPUT.search(body) is not None,
    )


def bounds(request: Request, deployment: Deployment) -> Bounds:
    """The most tokens that this request can use there."""
    terms = Terms(deployment)
    return Bounds(
        input_tokens=terms.input_tokens(input_size(request)),
        output_tokens=terms.output_tokens(request.head),
    )


def most(request: Request, deployment: Deployment) -> int:
    """The most nanodollars that one try there can cost. See `Terms.most`."""
    return Terms(deployment).most(request.head, input_size(request))


def affordable_output(request: Request, deployments: Sequence[Deployment], left: int) -> int:
    """The largest bound on output tokens with which the call fits into `left` nanodollars, or 0."""
    size = input_size(request)
    places = [Terms(each) for each in deployments]

    def fits(output_tokens: int) -> bool:
        head = msgspec.structs.replace(request.head, max_output_tokens=output_tokens)
        return all(place.most(head, size) <= left for place in places)

    low, high = 0, UNKNOWN_OUTPUT_TOKENS * 8
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def is_plausible(usage: Usage) -> bool:
    """Whether a vendor can mean it: no call has a billion tokens. Other figures count as not told."""
    return usage.total_tokens <= MOST_TOKENS and usage.web_search_requests <= MOST_TOKENS


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
