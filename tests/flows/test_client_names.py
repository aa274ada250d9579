"""Names of prompt flow's client: flows import them for what they do as scripts; here they say what to use."""

from __future__ import annotations

import pytest

from farthing.core.errors import FlowError
from farthing.flows.batch.metrics import collecting, log_metric
from farthing.flows.client import PFClient, load_flow, load_run


@pytest.mark.parametrize("name", [PFClient, load_flow, load_run])
def test_a_name_of_the_client_says_what_does_its_work(name: type[PFClient]) -> None:
    with pytest.raises(FlowError, match=r"Use farthing (flow|pf) "):
        name("anything")


def test_a_variant_id_changes_no_metrics_name() -> None:
    with collecting() as metrics:
        log_metric("accuracy", 0.5, variant_id="variant_0")
    assert metrics == {"accuracy": 0.5}
