"""Provisioned throughput and spill-over, sentence by sentence."""

from __future__ import annotations

import math

import pytest

from farthing.sim.quota import Provisioned
from tests.sim.worlds import World, body, header, world

#: One unit carries 600 tokens a minute: 10 a second; 100 % is a minute of that.
PTU = "provisioned = { units = 1, input_tokens_per_minute = 600, output_weight = 3 }"
SPILL = (
    PTU
    + """
        spillover = "standard"
        [regions.here.deployments.standard]
        model = "small"
        quota = { semantics = "window", tokens_per_minute = 2000 }
    """
)


def _utilisation(here: World) -> float:
    units = here.region.places["small"].provisioned
    assert units is not None
    return units.utilisation(here.clock.monotonic())


def test_above_a_hundred_per_cent_calls_get_429_with_the_time_until_below() -> None:
    units = Provisioned(1, 600, output_weight=3)
    assert units.admit(0.0, 700).is_admitted
    ruling = units.admit(0.0, 1)
    assert not ruling.is_admitted
    assert math.isclose(ruling.retry_after_s, 10.0, abs_tol=0.01)
    assert units.admit(ruling.retry_after_s, 1).is_admitted


def test_the_refusal_carries_retry_after_ms_and_retry_after() -> None:
    here = world("azure", PTU)
    here.ask(max_tokens=400)
    refused = here.ask(max_tokens=1)
    assert refused.script.status == 429
    milliseconds = int(header(refused, "retry-after-ms") or 0)
    assert int(header(refused, "retry-after") or 0) == math.ceil(milliseconds / 1000)


def test_the_estimate_is_prompt_plus_max_tokens_by_weight() -> None:
    here = world("azure", PTU)
    exchange = here.ask("Hello", max_tokens=50)
    prompt = body(exchange)["usage"]["prompt_tokens"]
    assert math.isclose(_utilisation(here), 100 * (prompt + 150) / 600)


def test_the_service_guesses_the_output_when_max_tokens_is_absent() -> None:
    here = world("azure", PTU, model="assumed_output_tokens = 60")
    here.ask("Hello")
    assert _utilisation(here) > 100 * 180 / 600


@pytest.mark.parametrize(("cached", "cost"), [(1023, 2000), (1024, 976), (2000, 0)])
def test_cached_tokens_are_free_from_1024_on(cached: int, cost: float) -> None:
    units = Provisioned(1, 600, output_weight=3)
    assert units.weigh(prompt=2000, cached=cached, output=0) == cost


def test_completion_corrects_the_estimate_downwards() -> None:
    here = world("azure", PTU)
    exchange = here.ask("Hello", max_tokens=150)
    high = _utilisation(here)
    exchange.settle()
    used = body(exchange)["usage"]
    actual = used["prompt_tokens"] + 3 * used["completion_tokens"]
    assert _utilisation(here) < high
    assert math.isclose(_utilisation(here), 100 * actual / 600)


def test_completion_corrects_the_estimate_upwards() -> None:
    here = world("azure", PTU, model="assumed_output_tokens = 1")
    exchange = here.ask("sim:long=100")
    low = _utilisation(here)
    exchange.settle()
    assert _utilisation(here) > low + 40


async def test_the_bucket_drains_continuously() -> None:
    here = world("azure", PTU)
    here.ask("Hello", max_tokens=100)
    before = _utilisation(here)
    await here.clock.advance(3)
    assert math.isclose(before - _utilisation(here), 5.0)


def test_a_burst_slightly_above_a_hundred_per_cent_is_tolerated() -> None:
    here = world("azure", PTU)
    assert here.ask(max_tokens=190).script.status == 200
    assert here.ask(max_tokens=190).script.status == 200
    assert _utilisation(here) > 100


def test_output_weighs_three_times_input() -> None:
    units = Provisioned(1, 2500, output_weight=3)
    assert units.weigh(prompt=0, cached=0, output=833) == 2499


def test_the_answer_states_the_utilisation() -> None:
    shown = header(world("azure", PTU).ask(max_tokens=10), "azure-openai-deployment-utilization")
    assert shown is not None and shown.endswith("%")


def test_tokens_of_provisioned_units_are_free_on_the_invoice() -> None:
    here = world("azure", PTU)
    here.ask(max_tokens=10).settle()
    assert here.invoice.rows[0].usage.output_tokens > 0
    assert here.invoice.nanodollars == 0


# --- spill-over ---------------------------------------------------------------------------------------


def test_spillover_tries_the_provisioned_side_first() -> None:
    exchange = world("azure", SPILL).ask(max_tokens=10)
    assert header(exchange, "x-ms-deployment-name") == "small"
    assert header(exchange, "x-ms-spillover-from-deployment") is None


def test_spillover_uses_the_standard_side_after_a_refusal_and_says_so() -> None:
    here = world("azure", SPILL)
    here.ask(max_tokens=300)
    spilled = here.ask(max_tokens=10)
    assert spilled.script.status == 200
    assert header(spilled, "x-ms-deployment-name") == "standard"
    assert header(spilled, "x-ms-spillover-from-deployment") == "small"
    assert header(spilled, "x-ms-spillover-error") == "429"


def test_the_request_header_names_a_spillover_deployment_too() -> None:
    deployments = SPILL.replace('spillover = "standard"', "")
    here = world("azure", deployments)
    here.ask(max_tokens=300)
    assert here.ask(max_tokens=10).script.status == 429
    spilled = here.ask(max_tokens=10, headers={"x-ms-spillover-deployment": "standard"})
    assert spilled.script.status == 200
    assert header(spilled, "x-ms-spillover-from-deployment") == "small"


def test_any_error_of_the_provisioned_side_spills_over() -> None:
    here = world("azure", SPILL)
    here.region.places["small"].is_retired = True
    spilled = here.ask(max_tokens=10)
    assert spilled.script.status == 200
    assert header(spilled, "x-ms-spillover-error") == "410"


def test_the_standard_side_is_billed_per_token() -> None:
    here = world("azure", SPILL)
    here.ask(max_tokens=300).settle(tokens=300)
    here.ask(max_tokens=300)
    here.ask(max_tokens=300)
    spilled = here.ask(max_tokens=10)
    spilled.settle()
    row = here.invoice.rows[-1]
    assert row.deployment == "standard"
    assert row.nanodollars > 0


def test_a_failing_standard_side_returns_its_status_and_keeps_the_headers() -> None:
    here = world("azure", SPILL)
    here.ask(max_tokens=300)
    refused = here.ask(max_tokens=5000)
    assert refused.script.status == 429
    assert header(refused, "x-ms-spillover-from-deployment") == "small"
    assert header(refused, "x-ms-spillover-error") == "429"
    assert header(refused, "x-ratelimit-limit-tokens") == "2000"
