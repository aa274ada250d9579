"""Tries a flow from the command line: one line, one node, or a conversation; and shows what came of it."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from farthing.cli.output import note, print_json

if TYPE_CHECKING:
    from farthing.base.clock import Clock
    from farthing.flows.connections.connections import Connections
    from farthing.flows.engine.plan import LineResult, Trace
    from farthing.flows.jobs import Tried
    from farthing.flows.models import Models, Spent
    from farthing.flows.runnable import Runnable


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What to try. path: the flow's folder or file. variant: `${node.variant}`. environment: set before.

    config, url, key: see `flow_models.flow_models`.
    """

    path: Path
    inputs: Mapping[str, Any] = field(default_factory=dict)
    node: str | None = None
    variant: str | None = None
    init: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    config: Path | None = None
    url: str | None = None
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of it. spent: what its model calls have cost."""

    tried: Tried
    spent: Spent
    latency_s: float

    def figures(self) -> dict[str, Any]:
        """For programs."""
        from farthing.core.money import format_dollars

        line, behind = self.tried.line, self.tried.behind
        traces = [*line.traces, *behind.traces]
        dollars = format_dollars(self.spent.nanodollars)[1:].replace(",", "")
        return {
            "outputs": plain(line.outputs),
            "metrics": plain(behind.metrics),
            "nodes": [
                {"node": t.node, "status": t.status, "latency_s": round(t.latency_s, 4)}
                for t in traces
            ],
            "warnings": [*line.warnings, *behind.warnings],
            "calls": self.spent.calls,
            "input_tokens": self.spent.input_tokens,
            "output_tokens": self.spent.output_tokens,
            "cost_dollars": dollars,
            "latency_s": round(self.latency_s, 4),
        }


async def try_once(trial: Trial) -> Report:
    """Run the line, or the node alone. Raises the line's error when it failed; shows the user's own frames."""
    from farthing.base.clock import SystemClock
    from farthing.flows.jobs import try_line

    clock = SystemClock()
    async with _open(trial) as flow:
        started_s = clock.monotonic()
        # What a node alone is given is in its flow already.
        tried = await try_line(flow, {} if trial.node else trial.inputs)
        latency_s = clock.monotonic() - started_s
    _raise_failure(tried.line, tried.behind)
    return Report(tried=tried, spent=flow.spent, latency_s=latency_s)


@asynccontextmanager
async def _open(trial: Trial, *, is_streaming: bool = False) -> AsyncIterator[Runnable]:
    from farthing.base.clock import SystemClock
    from farthing.cli.flow_models import flow_models, image_fetcher
    from farthing.core.private import Private
    from farthing.flows.jobs import inside, opened, project_connections

    clock, connections = SystemClock(), project_connections()
    key = Private(trial.key) if trial.key else None
    async with flow_models(trial.config, url=trial.url, key=key) as models:
        if trial.node is not None:
            async with aclosing(_one_node(trial, models, connections, clock)) as alone:
                with inside(alone.flow.folder):
                    yield alone
            return
        async with opened(
            trial.path,
            models=models,
            connections=connections,
            clock=clock,
            variant=trial.variant,
            init=trial.init,
            environment=trial.environment,
            is_streaming=is_streaming,
            images=image_fetcher(trial.config),
        ) as flow:
            with inside(flow.flow.folder):
                yield flow


def _one_node(trial: Trial, models: Models, connections: Connections, clock: Clock) -> Runnable:
    from farthing.cli.flow_models import image_fetcher
    from farthing.flows.dag.altered import node_alone
    from farthing.flows.jobs import graph_at
    from farthing.flows.open import open_flow, varied

    flow = varied(graph_at(trial.path), trial.variant)
    return open_flow(
        node_alone(flow, trial.node or "", trial.inputs),
        models=models,
        connections=connections,
        clock=clock,
        environment=trial.environment,
        images=image_fetcher(trial.config),
    )


def _raise_failure(line: LineResult, behind: LineResult) -> None:
    error = line.error or behind.error
    if error is None:
        return
    frames = user_frames(error)
    if frames:
        note(frames)
    raise error


def user_frames(error: BaseException) -> str:
    """Where in the user's own files a node failed, and with what; empty for an error of ours."""
    cause = error.__cause__
    if cause is None:
        return ""
    own = str(Path(__file__).resolve().parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(cause.__traceback__)
        if not frame.filename.startswith((own, "<frozen"))
        and "concurrent/futures" not in frame.filename
    ]
    if not frames:
        return ""
    lines = traceback.format_list(frames) + traceback.format_exception_only(cause)
    return "".join(lines).rstrip()


# --- showing ---


def show(report: Report, *, as_json: bool) -> None:
    """The outputs on standard output; who did what, tokens, cost and time beside them."""
    if as_json:
        print_json(report.figures())
        return
    tried = report.tried
    for name, value in tried.line.outputs.items():
        click.echo(_labelled(name, value))
    for name, value in tried.behind.metrics.items():
        click.echo(f"{click.style(name, bold=True)} (metric): {text_of(value)}")
    for warning in (*tried.line.warnings, *tried.behind.warnings):
        note(f"Note: {warning}")
    steps = [_step(trace) for trace in (*tried.line.traces, *tried.behind.traces)]
    if steps:
        note(" · ".join(steps))
    note(summary(report.spent, report.latency_s))


def summary(spent: Spent, latency_s: float) -> str:
    """Calls, tokens, cost and time in one line."""
    from farthing.core.money import format_dollars

    parts = []
    if spent.calls:
        parts.append(f"{spent.calls} model call{'s' if spent.calls != 1 else ''}")
        parts.append(f"{spent.input_tokens:,} in, {spent.output_tokens:,} out tokens")
        parts.append(format_dollars(spent.nanodollars))
    parts.append(f"{latency_s:.2f} s")
    return " · ".join(parts)


def plain(value: Any) -> Any:
    """The value as JSON can have it; an image as its data URL, anything else foreign as its text."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):  # a subclass of them is no JSON
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    url = getattr(value, "url", None)
    if isinstance(url, str):
        return url
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError):
        return str(value)


def _labelled(name: str, value: Any) -> str:
    text = text_of(value)
    label = click.style(f"{name}:", bold=True)
    return f"{label}\n{text}" if "\n" in text else f"{label} {text}"


def text_of(value: Any) -> str:
    """The value for people: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return str(value)  # an image says of itself what it is
    return json.dumps(plain(value), ensure_ascii=False, indent=2)


def _step(trace: Trace) -> str:
    if trace.status == "bypassed":
        return f"{trace.node} bypassed"
    mark = "" if trace.status == "ok" else f" {trace.status}"
    return f"{trace.node}{mark} {trace.latency_s:.2f} s"


# --- conversations ---


async def converse(trial: Trial, *, shows_steps: bool = False) -> None:
    """Talk to a chat flow until the input ends. Raises FlowFormatError for a flow that is no chat."""
    from farthing.flows.jobs import chat_of, turn

    async with _open(trial, is_streaming=True) as flow:
        chat = chat_of(flow.flow)
        note(f"You talk to {flow.flow.name}. An empty line or Ctrl-D ends it.")
        history: list[dict[str, Any]] = list(trial.inputs.get(chat.history or "") or [])
        while (question := _ask()) is not None:
            inputs = {**trial.inputs, chat.question: question}
            if chat.history:
                inputs[chat.history] = list(history)
            line = await flow.run(inputs)
            if line.error is not None:
                _raise_failure(line, line)
            answer = await _say(flow, line, chat.answer)
            history.append(turn(inputs, {**line.outputs, chat.answer: answer}, chat))
            if shows_steps:
                note(" · ".join(_step(trace) for trace in line.traces))
        note(summary(flow.spent, 0.0).rpartition(" · ")[0] or "Nothing was asked of a model.")


def _ask() -> str | None:
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        click.secho("You: ", bold=True, nl=False)
    words = sys.stdin.readline().strip()
    return words or None


async def _say(flow: Runnable, line: LineResult, name: str) -> str:
    """Print an answer as it comes; the whole of it comes back."""
    value = line.outputs.get(name)
    click.secho(f"{flow.flow.name}: ", bold=True, nl=False)
    pieces: list[str] = []
    if isinstance(value, AsyncIterator):
        async for piece in value:
            pieces.append(str(piece))
            click.echo(pieces[-1], nl=False)
            sys.stdout.flush()
    else:
        pieces.append(text_of(value))
        click.echo(pieces[0], nl=False)
    click.echo()
    return "".join(pieces)
