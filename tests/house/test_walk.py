"""The walk of one line of a batch: what a newcomer reads from the command to the gateway's door."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from click.testing import CliRunner

from farthing.cli.flow import flow
from farthing.gateway.client import Gateway

ROOMS_AT_MOST = 5
MODULES_AT_MOST = 11
FILES = {
    "farthing.toml": '[server]\ndetect = false\n[providers.sim]\ntype = "sim"\nscenario = "demo"\n',
    "flow.dag.yaml": """
inputs: {text: {type: string}}
outputs: {answer: {type: string, reference: "${ask.output}"}}
nodes:
- name: ask
  type: llm
  api: chat
  source: {type: code, path: ask.jinja2}
  inputs: {deployment_name: sim/small, text: "${inputs.text}"}
""",
    "ask.jinja2": "user:\n{{text}}\n",
    "data.jsonl": '{"text": "one"}\n',
}


class Walk:
    """Notes who stands on the way to the gateway's door, over the tasks that were made on it. modules: in order."""

    def __init__(self) -> None:
        self.modules: list[str] = []
        self._makers: dict[asyncio.Task[Any], list[str]] = {}
        self._door = Gateway.open.__code__

    def __enter__(self) -> Walk:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, value: Any) -> None:
        if event == "return" and isinstance(value, asyncio.Task):
            self._makers.setdefault(value, self._way(frame))
        elif event == "call" and frame.f_code is self._door and not self.modules:
            self.modules = list(dict.fromkeys(self._way(frame)))

    def _way(self, frame: FrameType | None) -> list[str]:
        """Modules from here to the command: those below on the stack, then those that made this task."""
        found = []
        while frame is not None:
            name = str(frame.f_globals.get("__name__"))
            if name.startswith("farthing."):
                found.append(name)
            frame = frame.f_back
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return found
        return found + (self._makers.get(task, []) if task else [])


def test_a_line_walks_few_rooms_and_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    # Python's own event loop, as where uvloop is not installed: tasks that are made in C leave no trace.
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with Walk() as walk:
        result = CliRunner().invoke(flow, ["run", ".", "--data", "data.jsonl"])
    assert result.exit_code == 0, result.output
    assert {"farthing.cli.flow", "farthing.flows.batch.batch"} < set(walk.modules)
    rooms = {name.split(".")[1] for name in walk.modules}
    assert len(rooms) <= ROOMS_AT_MOST, rooms
    assert len(walk.modules) <= MODULES_AT_MOST, walk.modules
