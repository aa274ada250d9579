"""The simulator's own invoice: exact, in Decimal, computed apart from the gateway's formula."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import msgspec

from farthing.core.usage import Usage
from farthing.sim.scenario import Dollars, ModelTable, PriceTable

_MILLION = Decimal(1_000_000)
_NANO = Decimal(1_000_000_000)
#: Rows kept; older ones are dropped and counted.
MAX_ROWS = 500_000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one served request costs. request_id: the one in the response's headers.

    status: what was sent; 0 when no head was sent. outcome: `complete`, `aborted` (the client left) or
    the fault's name. nanodollars: zero on provisioned deployments, whose hours are paid.
    """

    request_id: str
    at: float
    region: str
    deployment: str
    model: str
    usage: Usage
    nanodollars: int
    status: int
    outcome: str
    is_aborted: bool = False
    is_stream: bool = False
    tier: str = "standard"
    call_id: str | None = None


class Invoice:
    """Rows in the order in which requests ended."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.dropped = 0

    def add(self, row: Row) -> None:
        """Book a request."""
        if len(self.rows) >= MAX_ROWS:
            del self.rows[: MAX_ROWS // 10]
            self.dropped += MAX_ROWS // 10
        self.rows.append(row)

    @property
    def nanodollars(self) -> int:
        """The sum of all rows."""
        return sum(row.nanodollars for row in self.rows)


def charge(usage: Usage, model: ModelTable, tier: str | None = None) -> int:
    """Nanodollars for one request, by the vendors' published formula, rounded half up once.

    OpenAI, Azure, Google: (input − cached) × input price + cached × cached price + output × output price,
    reasoning included in output. Anthropic: cache writes apart, 1.25 × or 2 × stated as prices. A call
    whose input is above the long-context line pays the long price for every token.
    """
    table = model.tiers.get(tier or "", model.price)
    line = model.long_context
    if table is model.price and line and usage.input_tokens > line.above_input_tokens:
        table = line.price
    total = _sum(usage, table)
    return int((total * _NANO).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _sum(usage: Usage, table: PriceTable) -> Decimal:
    base = _dollars(table.input)
    written_short = usage.cache_write_tokens - usage.cache_write_1h_tokens
    fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    fresh -= usage.input_image_tokens
    write = base if table.cache_write is None else _dollars(table.cache_write)
    per_million = fresh * base
    per_million += usage.cached_input_tokens * _first(table.cached_input, base)
    per_million += written_short * write
    per_million += usage.cache_write_1h_tokens * _first(table.cache_write_1h, write)
    per_million += usage.input_image_tokens * _first(table.input_image, base)
    output = _dollars(table.output)
    per_million += (usage.output_tokens - usage.reasoning_tokens) * output
    per_million += usage.reasoning_tokens * _first(table.reasoning, output)
    return per_million / _MILLION + _dollars(table.request)


def _first(value: Dollars | None, otherwise: Decimal) -> Decimal:
    return otherwise if value is None else _dollars(value)


def _dollars(value: Dollars) -> Decimal:
    return Decimal(str(value))
