"""One simulated deployment: its quota or provisioned units, its prompt cache, its admission rules."""

from __future__ import annotations

import math

from farthing.sim import headers
from farthing.sim.asks import Ask, RefusedError
from farthing.sim.draws import Draws
from farthing.sim.prefix import Cached, PrefixCache
from farthing.sim.quota import BucketQuota, Provisioned, Quota, WindowQuota
from farthing.sim.scenario import DeploymentTable, Flavour, ModelTable

#: Characters that admission takes for one token; on purpose not the billing tokeniser.
ADMISSION_CHARACTERS_PER_TOKEN = 3.5
#: Tokens counted for one image.
IMAGE_TOKENS = 255
#: Requests per minute that come with 1,000 tokens per minute (Azure, classic models).
REQUESTS_PER_1K_TOKENS = 6


class Place:
    """A deployment in a region. Holds state; `now` is the clock's monotonic seconds."""

    def __init__(
        self, name: str, table: DeploymentTable, model: ModelTable, flavour: Flavour, draws: Draws
    ) -> None:
        self.name = name
        self.table = table
        self.model = model
        self.cache = PrefixCache()
        self.in_flight = 0
        self.is_retired = model.is_retired
        self.is_at_capacity = False
        self._flavour = flavour
        self.quota: Quota | None = None
        self.provisioned: Provisioned | None = None
        if table.provisioned is not None:
            units = table.provisioned
            self.provisioned = Provisioned(
                units.units,
                units.input_tokens_per_minute,
                output_weight=units.output_weight,
                window_s=units.window_s,
            )
        elif table.quota is not None:
            self.quota = _quota(table, draws)

    def admit(self, ask: Ask, prompt_tokens: int, now: float) -> float:
        """Let a call in and return its estimate. Raises RefusedError (429) with the vendor's headers."""
        if self.is_at_capacity:
            raise RefusedError(
                429,
                "tokens",
                f"The service is experiencing high demand for {self.table.model}. Please retry later.",
                retry_after_s=5.0,
                headers=headers.retry(self._flavour, 5.0),
            )
        output = self.model.assumed_output_tokens if ask.max_tokens is None else ask.max_tokens
        output = (0 if self.model.kind == "embed" else output) * max(ask.n, ask.best_of)
        if self.provisioned is not None:
            cached = self.cache.visit(ask, now, keep=False).read
            estimate = self.provisioned.weigh(prompt=prompt_tokens, cached=cached, output=output)
            ruling = self.provisioned.admit(now, estimate)
        else:
            assert self.quota is not None
            estimate = float(admission_charge(ask, output))
            ruling = self.quota.admit(now, int(estimate))
        if not ruling.is_admitted:
            what = "token rate" if ruling.short_of == "tokens" else "call rate"
            raise RefusedError(
                429,
                ruling.short_of,
                f"Requests to {self.name} have exceeded the {what} limit of its quota (simulated). "
                f"Please retry after {max(1, math.ceil(ruling.retry_after_s))} seconds.",
                retry_after_s=ruling.retry_after_s,
                headers=headers.refusal(self._flavour, ruling),
            )
        return estimate

    def limits(self, now: float, at: float) -> headers.Headers:
        """The quota headers of any answer. at: unix seconds."""
        if self.provisioned is not None:
            shown = f"{self.provisioned.utilisation(now):.1f}%"
            return (("azure-openai-deployment-utilization", shown),)
        assert self.quota is not None
        return headers.rate_limits(self._flavour, self.quota.room(now), at)

    def settle(self, now: float, estimate: float, prompt: int, cached: Cached, output: int) -> None:
        """A call ended: correct the provisioned bucket; a standard quota refunds nothing."""
        if self.provisioned is not None:
            actual = self.provisioned.weigh(prompt=prompt, cached=cached.read, output=output)
            self.provisioned.correct(now, estimate, actual)


def admission_charge(ask: Ask, output: int) -> int:
    """Tokens that a standard quota counts at arrival: characters of the prompt, plus most output."""
    images = sum(turn.images for turn in ask.turns) * IMAGE_TOKENS
    return math.ceil(len(ask.text) / ADMISSION_CHARACTERS_PER_TOKEN) + images + output


def _quota(table: DeploymentTable, draws: Draws) -> Quota:
    assert table.quota is not None
    tokens = table.quota.tokens_per_minute
    requests = table.quota.requests_per_minute or max(1, tokens * REQUESTS_PER_1K_TOKENS // 1000)
    quota: Quota
    if table.quota.semantics == "window":
        phase = draws.uniform("phase") * 60
        quota = WindowQuota(tokens, requests, phase_s=phase, slice_s=table.quota.slice_s)
    else:
        quota = BucketQuota(tokens, requests)
    quota.reduce(table.quota.reduced_to)
    return quota
