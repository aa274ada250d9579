"""The golden invoices: a vendor's own usage through codec, tier and formula, against sums done by hand."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from farthing.base.config.amounts import dollars
from farthing.core.calls import Head, Request, Tally
from farthing.core.errors import UpstreamTruncatedError
from farthing.core.models import Deployment
from farthing.core.prices import Price, amortised
from farthing.gateway import billing
from farthing.providers.catalogue import Catalogue
from farthing.providers.overlay import TierRow
from farthing.wire.dialects import codec

GOLDEN = Path(__file__).parent / "golden"


class PriceRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price as a vendor's page states it. catalogue: vendor, model and scope where it must be the same."""

    source: str
    date: str
    tiers: dict[str, TierRow]
    catalogue: tuple[str, str, str] | None = None

    def price(self) -> Price:
        """In exact numbers."""
        tiers = {name: row.tier() for name, row in self.tiers.items()}
        return Price(tiers=tiers, source=self.source, date=self.date)


class Invoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer and what the vendor charges for it.

    Exactly one of usage (put into a whole answer), answer (a whole answer), events (the data of a stream's
    events). service_tier: in the answer. kind `aborted`: the client left there; `estimated`: it ended
    without usage. expected: nanodollars, None where only the sum with the hold can be known.
    thread: where users of another gateway reported this case as charged wrongly (its number at LiteLLM).
    """

    name: str
    codec: str
    price: str
    usage: str | None = None
    answer: str | None = None
    events: tuple[str, ...] = ()
    kind: Literal["confirmed", "aborted", "estimated"] = "confirmed"
    asked_tier: str | None = None
    service_tier: str | None = None
    is_provisioned: bool = False
    has_spilled: bool = False
    at_most: int = 0
    expected: int | None = None
    expected_held: int | None = None
    expected_output_tokens: int | None = None
    thread: str | None = None


class Hours(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A span of provisioned units and its share of the hourly fee."""

    name: str
    hourly: str
    seconds: int
    expected: int

    @property
    def difference(self) -> int:
        """Our figure minus the one done by hand, nanodollars."""
        return amortised(dollars(self.hourly), self.seconds) - self.expected


class Book(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the golden set."""

    prices: dict[str, PriceRow]
    invoice: tuple[Invoice, ...]
    hours: tuple[Hours, ...] = ()


def books() -> dict[str, Book]:
    """The files by name."""
    return {
        path.stem: msgspec.convert(tomllib.loads(path.read_text("utf-8")), Book)
        for path in sorted(GOLDEN.glob("*.toml"))
    }


def charge(invoice: Invoice, book: Book) -> billing.Charge:
    """What the gateway books for this answer."""
    deployment = Deployment(
        name="golden",
        provider="golden",
        model="golden",
        remote_name="golden",
        price=book.prices[invoice.price].price(),
        is_provisioned=invoice.is_provisioned,
    )
    request = Request(
        dialect=invoice.codec,
        body=b'{"model":"golden"}',
        head=Head(model="golden", service_tier=invoice.asked_tier),
    )
    tally = read(invoice)
    is_exact = tally.is_complete and tally.usage is not None
    if invoice.kind == "confirmed" or (invoice.kind == "aborted" and is_exact):
        assert tally.usage is not None, "the vendor's answer carries usage"
        return billing.confirmed(request, deployment, tally, has_spilled=invoice.has_spilled)
    return billing.estimated(
        request, deployment, tally, at_most=invoice.at_most, has_spilled=invoice.has_spilled
    )


def difference(invoice: Invoice, book: Book) -> int:
    """Nanodollars between the gateway's figures and those done by hand: charge, and what stays held."""
    made = charge(invoice, book)
    off = 0
    if invoice.expected is not None:
        off += abs(made.nanodollars - invoice.expected)
    elif made.nanodollars <= 0 or not made.usage.is_estimated:
        off += 1
    if invoice.expected_held is not None:
        off += abs(made.unconfirmed_nanodollars - invoice.expected_held)
    if invoice.kind == "estimated":
        off += abs(made.nanodollars + made.unconfirmed_nanodollars - invoice.at_most)
    if invoice.expected_output_tokens is not None:
        off += abs(made.usage.output_tokens - invoice.expected_output_tokens)
    return off


def differs_from_catalogue(row: PriceRow, catalogue: Catalogue) -> bool:
    """Whether the catalogue would charge this model otherwise than the vendor's page says."""
    if row.catalogue is None:
        return False
    vendor, name, scope = row.catalogue
    model = catalogue.model(vendor, name, scope=scope)
    if model is None or model.price is None:
        return True
    stated, known = row.price().standard, model.price.standard
    fields = ("input", "cached_input", "output")
    return any(getattr(stated, field) != getattr(known, field) for field in fields)


def read(invoice: Invoice) -> Tally:
    """The answer as accounting sees it, read by the dialect's own codec."""
    dialect = codec(invoice.codec)
    if not invoice.events:
        return dialect.tally(whole(invoice))
    reader = dialect.reader(want_deltas=False)
    for event in invoice.events:
        reader.feed(_frame(event, invoice.codec))
    try:
        reader.eof()
    except UpstreamTruncatedError:
        assert invoice.kind == "aborted", f"'{invoice.name}' is a complete stream"
    return reader.tally


def whole(invoice: Invoice) -> bytes:
    """The body of an unstreamed answer with this usage."""
    if invoice.answer is not None:
        return invoice.answer.encode()
    assert invoice.usage is not None, f"'{invoice.name}' has no answer"
    text = _AROUND[invoice.codec].replace('"USAGE"', invoice.usage)
    body = json.loads(text)
    if invoice.service_tier is not None:
        body["service_tier"] = invoice.service_tier
    return json.dumps(body).encode()


def _frame(event: str, dialect: str) -> bytes:
    if event == "[DONE]" or dialect in ("openai-chat", "google-generate"):
        return f"data: {event}\n\n".encode()
    return f"event: {json.loads(event)['type']}\ndata: {event}\n\n".encode()


#: A whole answer of each dialect, as the vendors document it; `"USAGE"` is replaced.
_AROUND = {
    "openai-chat": """{"id": "chatcmpl-1", "object": "chat.completion", "created": 1764000000,
        "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi",
        "refusal": null}, "logprobs": null, "finish_reason": "stop"}], "usage": "USAGE"}""",
    "openai-responses": """{"id": "resp_1", "object": "response", "created_at": 1764000000,
        "status": "completed", "error": null, "incomplete_details": null, "model": "m", "output":
        [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content":
        [{"type": "output_text", "text": "Hi", "annotations": []}]}], "usage": "USAGE"}""",
    "openai-embeddings": """{"object": "list", "data": [{"object": "embedding", "index": 0,
        "embedding": [0.5, -0.5]}], "model": "m", "usage": "USAGE"}""",
    "anthropic-messages": """{"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
        "stop_sequence": null, "usage": "USAGE"}""",
    "google-generate": """{"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]},
        "finishReason": "STOP", "index": 0}], "usageMetadata": "USAGE", "modelVersion": "m",
        "responseId": "r1"}""",
}
