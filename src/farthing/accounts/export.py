"""Exports of the ledger: CSV, JSON lines, and FOCUS 1.2 for the tools of cost management.

FOCUS is the FinOps Open Cost and Usage Specification, version 1.2 (2025), https://focus.finops.org.
Columns that only an invoice can fill (accounts, SKUs, invoice numbers) stay empty rather than invented.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import msgspec

from farthing.accounts import ledger
from farthing.accounts.budgets import window_end, window_start
from farthing.accounts.ledger import Entry
from farthing.core.money import NANO_PER_DOLLAR

#: A charge of a call lasts no time that anyone is billed by; FOCUS wants a span, so it is the day's.
_DAY_S = 86_400


def exact_dollars(nanodollars: int) -> str:
    """A decimal number without sign of currency, loss or exponent: `0.000000001`."""
    whole, rest = divmod(abs(nanodollars), NANO_PER_DOLLAR)
    sign = "-" if nanodollars < 0 else ""
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".")


def plain(entry: Entry, key_names: Mapping[str, str]) -> dict[str, object]:
    """A row under our own names; money in dollars, exact."""
    flags = entry.flags
    return {
        "call_id": entry.call_id,
        "at": _iso(entry.at // 1000),
        "key_id": entry.key_id,
        "key": key_names.get(entry.key_id, entry.key_id),
        "team": entry.team,
        "tags": " ".join(entry.tags),
        "model": entry.model,
        "deployment": entry.deployment,
        "provider": entry.provider,
        "served_model": entry.served_model,
        "tier": entry.tier,
        "input_tokens": entry.usage.input_tokens,
        "cached_input_tokens": entry.usage.cached_input_tokens,
        "output_tokens": entry.usage.output_tokens,
        "reasoning_tokens": entry.usage.reasoning_tokens,
        "dollars": exact_dollars(entry.nanodollars),
        "is_simulated": bool(flags & ledger.SIMULATED),
        "is_estimated": bool(flags & ledger.ESTIMATED),
        "is_correction": bool(flags & ledger.CORRECTION),
        "is_provisioned": bool(flags & ledger.PROVISIONED),
        "request_id": entry.request_id,
    }


def focus(entry: Entry, key_names: Mapping[str, str]) -> dict[str, object]:
    """A row in FOCUS 1.2. Simulated calls cost nothing there; what they would have cost is in `x_`."""
    at = entry.at // 1000
    is_simulated = bool(entry.flags & ledger.SIMULATED)
    is_correction = bool(entry.flags & ledger.CORRECTION)
    is_fee = bool(entry.flags & ledger.PROVISIONED)
    amount = exact_dollars(entry.nanodollars)
    billed = "0" if is_simulated else amount
    tokens = entry.usage.total_tokens
    quantity = "1" if is_fee else str(tokens)
    unit = "Hours" if is_fee else "Tokens"
    start = at - at % 3600 if is_fee else window_start("day", at)
    month = window_start("month", at)
    what = "Provisioned throughput" if is_fee else "Tokens"
    return {
        "BilledCost": billed,
        "BillingAccountId": None,
        "BillingAccountName": None,
        "BillingAccountType": None,
        "BillingCurrency": "USD",
        "BillingPeriodEnd": _iso(window_end("month", month) or month),
        "BillingPeriodStart": _iso(month),
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if is_correction else None,
        "ChargeDescription": f"{what}, {entry.served_model or entry.model}",
        "ChargeFrequency": "Recurring" if is_fee else "Usage-Based",
        "ChargePeriodEnd": _iso(start + (3600 if is_fee else _DAY_S)),
        "ChargePeriodStart": _iso(start),
        "ConsumedQuantity": None if is_correction else quantity,
        "ConsumedUnit": None if is_correction else unit,
        "ContractedCost": billed,
        "ContractedUnitPrice": None,
        "EffectiveCost": billed,
        "InvoiceId": None,
        "InvoiceIssuerName": entry.provider,
        "ListCost": billed,
        "ListUnitPrice": None,
        "PricingCategory": None if is_correction else "Committed" if is_fee else "Standard",
        "PricingQuantity": None if is_correction else quantity,
        "PricingUnit": None if is_correction else unit,
        "ProviderName": entry.provider,
        "PublisherName": entry.provider,
        "RegionId": None,
        "RegionName": None,
        "ResourceId": entry.deployment,
        "ResourceName": entry.deployment,
        "ResourceType": "Deployment" if entry.deployment else None,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": entry.served_model or entry.model,
        "ServiceSubcategory": "Generative AI",
        "SkuId": None,
        "SkuMeter": None,
        "SkuPriceDetails": None,
        "SkuPriceId": None,
        "SubAccountId": None,
        "SubAccountName": None,
        "SubAccountType": None,
        "Tags": msgspec.json.encode(dict.fromkeys(entry.tags, True)).decode(),
        "x_CallId": entry.call_id,
        "x_RequestId": entry.request_id,
        "x_Model": entry.model,
        "x_KeyId": entry.key_id,
        "x_KeyName": key_names.get(entry.key_id, entry.key_id),
        "x_Team": entry.team,
        "x_ServiceTier": entry.tier,
        "x_InputTokens": entry.usage.input_tokens,
        "x_CachedInputTokens": entry.usage.cached_input_tokens,
        "x_OutputTokens": entry.usage.output_tokens,
        "x_IsSimulated": is_simulated,
        "x_SimulatedCost": amount if is_simulated else None,
    }


async def csv_lines(rows: AsyncIterator[dict[str, object]]) -> AsyncIterator[str]:
    """Rows as CSV with a head; empty for what is not known, `true` and `false` in small letters."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    is_first = True
    async for row in rows:
        if is_first:
            writer.writerow(row)
            is_first = False
        writer.writerow(str(v).lower() if isinstance(v, bool) else v for v in row.values())
        yield text.getvalue()
        text.seek(0)
        text.truncate()


async def json_lines(rows: AsyncIterator[dict[str, object]]) -> AsyncIterator[str]:
    """Rows as JSON, one to a line."""
    async for row in rows:
        yield msgspec.json.encode(row).decode() + "\n"


def _iso(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
