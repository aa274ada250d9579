"""Prompt flow's example graphs, exported to Python, do what they do as graphs: one line, and what is behind it.

FARTHING_TEST_PROMPTFLOW and FARTHING_TEST_PROMPTFLOW_PACKAGES: see `test_promptflow_examples.py`.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from farthing.base.clock import SystemClock
from farthing.flows.export.export import export
from farthing.flows.open import open_flow
from farthing.flows.runnable import Runnable
from tests.compat.flows import results
from tests.compat.flows.endpoint import Endpoint
from tests.compat.flows.here import NAMES, clean, pytestmark, root
from tests.compat.flows.ours import Ours

__all__ = ["clean", "pytestmark", "root"]
GRAPHS = [name for name in NAMES if name.endswith("flow.dag.yaml")]


class Exported(Ours):
    """The same case as a Python module, which stands in another folder than the flow."""

    def _open(self, variant: str | None, *, is_streaming: bool = False) -> Runnable:
        file = export(self.case.file, self.folder / "exported.py", variant=variant, replaces=True)
        return open_flow(
            file, models=self.models, connections=self.connections, clock=SystemClock()
        )


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("name", GRAPHS or ["none"])
async def test_an_exported_example_is_the_same_flow(name: str, root: Path, tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        graph = await _single(Ours(root, name, endpoint, tmp_path))
        module = await _single(Exported(root, name, endpoint, tmp_path))
    assert _compared(module) == _compared(graph), module.get("trace")


async def _single(ours: Ours) -> dict[str, Any]:
    random.seed(1)  # some examples choose
    async with ours.running():
        return await ours.single(None)


def _compared(told: dict[str, Any]) -> dict[str, Any]:
    """What must be equal. What was asked before a line failed beside it is a matter of time."""
    parts = [part for part in results.COMPARED if part in told]
    return {part: told[part] for part in parts if part != "requests" or told["error"] is None}
