"""One request being served: its script, and its settlement however the request ends."""

from __future__ import annotations

import msgspec

from farthing.base.clock import Clock
from farthing.core.usage import Usage
from farthing.sim import faults
from farthing.sim.invoice import Invoice, Row, charge
from farthing.sim.place import Place
from farthing.sim.prefix import Cached
from farthing.sim.scenario import Where
from farthing.sim.script import Script


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What is known at admission of the row to come. usage: that of the complete answer."""

    request_id: str
    region: str
    at: float
    usage: Usage
    cached: Cached
    estimate: float
    tier: str | None = None
    call_id: str | None = None


class Exchange:
    """A script with its settlement. Without a bill (refusals, lists) nothing is ever invoiced."""

    def __init__(
        self,
        script: Script,
        *,
        clock: Clock,
        invoice: Invoice,
        place: Place | None = None,
        bill: Bill | None = None,
    ) -> None:
        self.script = script
        self._clock = clock
        self._invoice = invoice
        self._place = place
        self._bill = bill
        self._fault: str | None = None
        self._is_settled = False
        self._began = clock.monotonic()
        if place is not None:
            place.in_flight += 1

    def spoil(self, fault: str, where: Where) -> None:
        """Break the script as the fault says. Refusals keep their own trouble."""
        if self._bill is not None:
            self._fault = fault
            self.script = faults.MENU[fault].apply(self.script, where)

    def generated(self) -> int:
        """Output tokens of an unstreamed answer that exist by now, for a client that leaves early."""
        if self._bill is None or self.script.head_wait_s <= 0:
            return 0
        full = self._bill.usage.output_tokens
        share = (self._clock.monotonic() - self._began) / self.script.head_wait_s
        return min(full, int(full * share))

    def settle(self, *, tokens: int | None = None, is_aborted: bool = False) -> None:
        """Book what the vendor bills, once. tokens: output that existed; None: all of it.

        Aborted by the client: the input in full, and the output until the disconnect was noticed.
        """
        if self._is_settled or self._bill is None or self._place is None:
            return
        self._is_settled = True
        bill, place = self._bill, self._place
        place.in_flight -= 1
        usage = bill.usage
        if tokens is not None and tokens < usage.output_tokens:
            usage = msgspec.structs.replace(
                usage, output_tokens=tokens, reasoning_tokens=min(tokens, usage.reasoning_tokens)
            )
        now = self._clock.monotonic()
        place.settle(now, bill.estimate, usage.input_tokens, bill.cached, usage.output_tokens)
        is_free = place.provisioned is not None
        self._invoice.add(
            Row(
                request_id=bill.request_id,
                at=bill.at,
                region=bill.region,
                deployment=place.name,
                model=place.table.model,
                usage=usage,
                nanodollars=0 if is_free else charge(usage, place.model, bill.tier),
                status=self.script.status,
                outcome="aborted" if is_aborted else self._fault or "complete",
                is_aborted=is_aborted,
                is_stream=self.script.is_stream,
                tier=bill.tier or "standard",
                call_id=bill.call_id,
            )
        )

    @property
    def bills_all(self) -> bool:
        """Whether the whole answer is billed even when the script was cut."""
        return self._fault is None or faults.MENU[self._fault].billed == "all"
