"""Composes an answer: an extract of the prompt, a tool call, minimal JSON, or a refusal. Never more."""

from __future__ import annotations

from itertools import cycle, islice

from farthing.sim.asks import Ask, Finish, Screening, Spoken, ToolCall, ToolSpec
from farthing.sim.draws import Draws
from farthing.sim.instance import minimal_json
from farthing.sim.text import MARK, count, directives, pieces

#: Tokens of the extract when nothing asks for more.
_EXTRACT_TOKENS = 40
#: Reasoning tokens by effort.
_EFFORT_TOKENS = {"none": 0, "minimal": 8, "low": 32, "medium": 64, "high": 128, "xhigh": 256}
_REFUSAL = f"{MARK} This model declines, because the prompt asked it to."


def compose(
    ask: Ask, *, most: int, is_reasoning: bool, draws: Draws, screening: Screening
) -> tuple[Spoken, ...]:
    """One answer for each of the `n` asked for. most: the longest answer the model gives, tokens."""
    budget = most if ask.max_tokens is None else min(ask.max_tokens, most)
    return tuple(_one(ask, index, budget, is_reasoning, draws, screening) for index in range(ask.n))


def output_tokens(spoken: Spoken) -> int:
    """Tokens billed as output for one answer, thoughts included."""
    called = sum(count(call.name) + count(call.arguments) + 4 for call in spoken.calls)
    return len(spoken.thoughts) + len(spoken.pieces) + called


def _one(
    ask: Ask, index: int, budget: int, is_reasoning: bool, draws: Draws, screening: Screening
) -> Spoken:
    thoughts = _thoughts(ask, is_reasoning)
    if len(thoughts) >= budget:
        return Spoken(index=index, finish="length", thoughts=thoughts[:budget])
    rest = budget - len(thoughts)
    marks = directives(ask.last)
    if "refuse" in marks:
        said = pieces(_REFUSAL)[:rest]
        return Spoken(
            index=index, finish="refusal", pieces=said, is_refusal=True, thoughts=thoughts
        )
    calls = _calls(ask, marks, index, draws)
    if calls:
        spoken = Spoken(index=index, finish="tool_calls", calls=calls, thoughts=thoughts)
        if output_tokens(spoken) <= budget:
            return spoken
        return Spoken(index=index, finish="length", thoughts=thoughts)
    said, finish, hit = _cut(pieces(_text(ask, index, marks)), ask.stop, rest)
    if screening.completion is not None:
        said, finish, hit = said[: max(1, len(said) // 2)], "content_filter", None
    return Spoken(index=index, finish=finish, pieces=said, thoughts=thoughts, stop_sequence=hit)


def _thoughts(ask: Ask, is_reasoning: bool) -> tuple[str, ...]:
    if ask.thinking_budget is not None:
        wanted = min(64, ask.thinking_budget) if ask.thinking_budget >= 0 else 64
        is_reasoning = is_reasoning or wanted > 0
    else:
        wanted = _EFFORT_TOKENS.get(ask.effort or "medium", 64)
    if not is_reasoning or not wanted:
        return ()
    return tuple(
        islice(cycle(pieces(f"{MARK} The answer will be an extract of the prompt. ")), wanted)
    )


def _text(ask: Ask, index: int, marks: dict[str, str]) -> str:
    if ask.schema is not None:
        return minimal_json(ask.schema)
    if ask.is_json:
        return '{"simulated":true}'
    # Completions answer each of their prompts n times over; a chat has one.
    said = ask.prompt[index * len(ask.prompt) // ask.n] if ask.prompt else ask.last
    source = pieces(" ".join(said.split())) or pieces("There was no text in the prompt.")
    asked = marks.get("long", "")
    length = int(asked) if asked.isdigit() else min(_EXTRACT_TOKENS, len(source))
    which = f" ({index + 1} of {ask.n})" if ask.n > 1 else ""
    extract = "".join(
        islice(cycle((*source, " ")), length) if length > len(source) else source[:length]
    )
    echoed = said if ask.is_echo else ""
    return f"{echoed}{MARK}{which} {extract.strip()}"


def _calls(ask: Ask, marks: dict[str, str], index: int, draws: Draws) -> tuple[ToolCall, ...]:
    if not ask.tools or ask.tool_mode == "none":
        return ()
    if ask.tool_mode == "tool":
        chosen = [tool for tool in ask.tools if tool.name == ask.tool_name]
    else:
        chosen = _mentioned(ask, marks)
        if ask.tool_mode == "required" and not chosen:
            chosen = [ask.tools[0]]
    if not ask.is_parallel:
        chosen = chosen[:1]
    return tuple(
        ToolCall(
            id=f"call_{draws.token(f'call{index}.{i}')}",
            name=tool.name,
            arguments=minimal_json(tool.schema),
        )
        for i, tool in enumerate(chosen)
    )


def _mentioned(ask: Ask, marks: dict[str, str]) -> list[ToolSpec]:
    """Tools that the last turn asks for: by `sim:tool`, or by their names. A tool's result ends it."""
    if ask.turns and ask.turns[-1].role != "user":
        return []
    named = marks.get("tool")
    if named is not None:
        return [tool for tool in ask.tools if tool.name == named] or [ask.tools[0]]
    return [tool for tool in ask.tools if tool.name in ask.last]


def _cut(
    said: tuple[str, ...], stop: tuple[str, ...], most: int
) -> tuple[tuple[str, ...], Finish, str | None]:
    text = "".join(said)
    found = [(text.find(word), word) for word in stop if word and word in text]
    hit: str | None = None
    if found:
        at, hit = min(found)
        said = pieces(text[:at])
    if len(said) > most:
        return said[:most], "length", None
    return said, "stop", hit
