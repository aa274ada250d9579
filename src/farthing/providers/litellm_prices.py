"""Convert LiteLLM's price map to an overlay, reporting everything that it cannot carry over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from farthing.core.errors import BadRequestError

#: LiteLLM's `litellm_provider` → our vendor. Others cannot be called here and are reported.
_VENDORS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "azure": "azure",
    "azure_text": "azure",
    "anthropic": "anthropic",
    "gemini": "google",
    "mistral": "mistral",
    "groq": "groq",
    "deepseek": "deepseek",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "openrouter": "openrouter",
    "xai": "x-ai",
    "perplexity": "perplexity",
}
_KINDS = {"chat": "chat", "completion": "chat", "responses": "chat", "embedding": "embed"}
#: Its field for one token → our rate. The suffixes `_batches`, `_flex`, `_priority` make tiers of it.
_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
}
_TIERS = {"_batches": "batch", "_flex": "flex", "_priority": "priority"}
_MILLION = Decimal(1_000_000)


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """text: the overlay. models: how many it has. notes: one line for each thing left out."""

    text: str
    models: int
    notes: tuple[str, ...]


def convert(text: str, *, source: str, date: str) -> Converted:
    """An overlay from the text of `model_prices_and_context_window.json`.

    source, date: what each row will say of its origin. Raises BadRequestError when the text is no such map.
    """
    try:
        # Decimal from the first digit on: a float would already have lost the price.
        entries = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except ValueError as error:
        raise BadRequestError(
            "That is not JSON.", hint="LiteLLM's map is model_prices_and_context_window.json."
        ) from error
    if not isinstance(entries, dict):
        raise BadRequestError("That is not a map of models.", hint="Expected an object at the top.")
    notes: list[str] = []
    tables: list[str] = []
    for name, entry in entries.items():
        if name == "sample_spec" or not isinstance(entry, dict):
            continue
        table = _table(name, entry, notes, source=source, date=date)
        if table is not None:
            tables.append(table)
    head = f"# Prices from {source}. Dollars per million tokens.\n"
    return Converted(text="\n".join([head, *tables]), models=len(tables), notes=tuple(notes))


def _table(
    name: str, entry: Mapping[str, Any], notes: list[str], *, source: str, date: str
) -> str | None:
    vendor = _VENDORS.get(str(entry.get("litellm_provider")))
    kind = _KINDS.get(str(entry.get("mode", "chat")))
    if vendor is None or kind is None:
        what = (
            f"provider {entry.get('litellm_provider')}"
            if vendor is None
            else f"mode {entry.get('mode')}"
        )
        notes.append(f"{name}: left out, {what} has no place here")
        return None
    tiers, unknown = _tiers(entry)
    if "input" not in tiers.get("standard", {}):
        notes.append(f"{name}: left out, it has no price per token")
        return None
    notes += [f"{name}: {field} has no equivalent" for field in unknown]
    bare = name.split("/", 1)[1] if "/" in name and vendor != "openrouter" else name
    lines = [
        "[[models]]",
        f"provider = {json.dumps(vendor)}",
        f"names = [{json.dumps(bare.removeprefix('openrouter/'))}]",
        f'kind = "{kind}"',
        f"source = {json.dumps(source)}",
        f"date = {json.dumps(date)}",
    ]
    for theirs, ours in (
        ("max_input_tokens", "context_tokens"),
        ("max_output_tokens", "max_output_tokens"),
    ):
        value = entry.get(theirs)
        if isinstance(value, Decimal) and value > 0:
            lines.append(f"{ours} = {int(value)}")
    for tier, rates in tiers.items():
        if "input" in rates:
            lines += _tier_lines(tier, rates)
    return "\n".join(lines) + "\n"


def _tier_lines(tier: str, rates: Mapping[str, Any]) -> list[str]:
    shown = ", ".join(
        f'{rate} = "{price}"' for rate, price in rates.items() if isinstance(price, str)
    )
    lines = [f"tiers.{tier}.rates = {{ {shown} }}"]
    steps = {int(name): each for name, each in rates.items() if name.isdecimal()}
    if steps:
        rows = []
        for above, own in sorted(steps.items()):
            merged = {r: p for r, p in rates.items() if isinstance(p, str)} | own
            inner = ", ".join(f'{rate} = "{price}"' for rate, price in merged.items())
            rows.append(f"{{ above_input_tokens = {above}, {inner} }}")
        lines.append(f"tiers.{tier}.above = [{', '.join(rows)}]")
    return lines


def _tiers(entry: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Tier → rate → price text, with steps under their number of tokens; and the fields left over."""
    tiers: dict[str, dict[str, Any]] = {}
    unknown = []
    for field, value in entry.items():
        if "cost" not in field or not isinstance(value, Decimal) or value == 0:
            continue
        base, tier = field, "standard"
        for suffix, name in _TIERS.items():
            if base.endswith(suffix):
                base, tier = base.removesuffix(suffix), name
        base, _, above = (
            base.partition("_above_") if not base.endswith("above_1hr") else (base, "", "")
        )
        rate = _RATES.get(base)
        price = _per_million(value)
        thousands = above.removesuffix("k_tokens")
        if rate is None or price is None or (above and not thousands.isdecimal()):
            unknown.append(field)
        elif above:
            tiers.setdefault(tier, {}).setdefault(f"{int(thousands) * 1000}", {})[rate] = price
        else:
            tiers.setdefault(tier, {})[rate] = price
    return tiers, unknown


def _per_million(per_token: Decimal) -> str | None:
    """Dollars per million as text; None when it is finer than a picodollar per token."""
    price = (per_token * _MILLION).normalize()
    return None if price != round(price, 6) else format(price, "f")
