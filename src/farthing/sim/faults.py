"""The menu of faults: each turns a healthy script into a broken one, and says what is billed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cache
from typing import Literal

import msgspec

from farthing.sim.scenario import Where
from farthing.sim.script import Act, Script, Step

#: nothing: the model did not run. cut: input, and output until the cut. all: the answer was generated.
Billing = Literal["nothing", "cut", "all"]
_HTML = (
    b"<!DOCTYPE html><html><head><title>Error</title></head>"
    b"<body><h1>Something went wrong</h1><hr>simulated proxy</body></html>"
)
#: Size of the gzip bomb once unpacked, bytes: 64 MiB out of about 64 KiB.
BOMB_BYTES = 64 * 1024 * 1024
_DRIP_S = 0.05
#: How the end marks of the dialects begin; Google has none.
_MARKS = (
    b"data: [DONE]",
    b"event: message_stop",
    b"event: response.completed",
    b"event: response.incomplete",
)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the menu. is_early: it strikes before quota and model are asked."""

    does: str
    billed: Billing
    apply: Callable[[Script, Where], Script]
    is_early: bool = False


def _instead(act: Act) -> Callable[[Script, Where], Script]:
    return lambda script, where: script.replace(before=act, steps=())


def _answer(status: int, content_type: str, body: bytes) -> Callable[[Script, Where], Script]:
    def apply(script: Script, where: Where) -> Script:
        kept = tuple(h for h in script.headers if h[0] != "content-type")
        headers = (*kept, ("content-type", content_type))
        return script.replace(
            status=status, headers=headers, steps=(Step(data=body),), is_stream=False
        )

    return apply


def _spots(script: Script) -> list[int]:
    return [i for i, step in enumerate(script.steps) if step.is_content] or [0]


def _spot(script: Script, where: Where) -> int:
    spots = _spots(script)
    return {"first": spots[0], "middle": spots[len(spots) // 2], "last": spots[-1]}[where]


def _share(data: bytes, where: Where) -> int:
    return {"first": 1, "middle": len(data) // 2, "last": max(1, len(data) - 1)}[where]


def _cut(script: Script, where: Where, *after: Step) -> Script:
    """Only what comes before the cut, then `after`. Streams are cut between events (`last`: after the
    last event with content), whole bodies between bytes."""
    if not script.steps:
        return script
    if not script.is_stream:
        whole = script.steps[0]
        part = Step(
            data=whole.data[: _share(whole.data, where)], wait_s=whole.wait_s, tokens=whole.tokens
        )
        return script.replace(steps=(part, *after), length=len(whole.data))
    at = _spot(script, where) + (where == "last")
    return script.replace(steps=(*script.steps[:at], *after))


def _then(act: Act) -> Callable[[Script, Where], Script]:
    return lambda script, where: _cut(script, where, Step(act=act))


def _mid_event(script: Script, where: Where) -> Script:
    if not script.is_stream:
        return _cut(script, where, Step(act="reset"))
    at = _spot(script, where)
    half = script.steps[at]
    torn = Step(data=half.data[: len(half.data) // 2], wait_s=half.wait_s, tokens=half.tokens)
    return script.replace(steps=(*script.steps[:at], torn, Step(act="reset")))


def _early_end(script: Script, where: Where) -> Script:
    broken = _cut(script, where)
    return broken if script.is_stream else broken.replace(length=len(broken.body))


def _drip(script: Script, where: Where) -> Script:
    if not script.is_stream:
        first = script.steps[0]
        slow = Step(data=first.data, wait_s=first.wait_s, tokens=first.tokens, pause_s=_DRIP_S)
        return script.replace(steps=(slow, *script.steps[1:]))
    at = _spot(script, where)
    slow_steps = tuple(
        Step(
            data=s.data, wait_s=s.wait_s, tokens=s.tokens, is_content=s.is_content, pause_s=_DRIP_S
        )
        for s in script.steps[at:]
    )
    return script.replace(steps=(*script.steps[:at], *slow_steps))


def _length(difference: int) -> Callable[[Script, Where], Script]:
    def apply(script: Script, where: Where) -> Script:
        size = len(script.body)
        ending = () if difference < 0 else (Step(act="close"),)
        return script.replace(
            steps=(*script.steps, *ending), is_stream=False, length=max(0, size + difference)
        )

    return apply


@cache
def _packed_bomb() -> bytes:
    return gzip.compress(b'{"id":"' + b" " * BOMB_BYTES + b'"}', compresslevel=9, mtime=0)


def _bomb(script: Script, where: Where) -> Script:
    data = _packed_bomb()
    headers = (*script.headers, ("content-encoding", "gzip"))
    first = script.steps[0] if script.steps else Step()
    body = Step(data=data, wait_s=first.wait_s, tokens=sum(s.tokens for s in script.steps))
    return script.replace(headers=headers, steps=(body,), is_stream=False)


def _is_mark(step: Step) -> bool:
    return step.data.startswith(_MARKS)


def _done(times: int) -> Callable[[Script, Where], Script]:
    def apply(script: Script, where: Where) -> Script:
        if not script.is_stream:
            return script
        steps = [s for step in script.steps for s in ([step] * (times if _is_mark(step) else 1))]
        return script.replace(steps=tuple(steps))

    return apply


def _no_usage(script: Script, where: Where) -> Script:
    """Rename the usage member, so that it is not there for any reader; sizes stay true."""
    steps = tuple(
        Step(
            data=s.data.replace(b'"usage":', b'"x_sim":').replace(
                b'"usageMetadata":', b'"x_simMetadata":'
            ),
            wait_s=s.wait_s,
            tokens=s.tokens,
            is_content=s.is_content,
        )
        for s in script.steps
    )
    return script.replace(steps=steps)


def _error_event(script: Script, where: Where) -> Script:
    body = b'{"error":{"message":"The server had an error (simulated).","type":"server_error","code":500}}'
    if not script.is_stream:
        return script.replace(steps=(Step(data=body),))
    if any(s.data.startswith(b"event: message_start") for s in script.steps):
        data = (
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
            b'"message":"Overloaded (simulated)."}}\n\n'
        )
    elif any(s.data.startswith(b"event: response.") for s in script.steps):
        data = (
            b'event: error\ndata: {"type":"error","sequence_number":9999,"code":"server_error",'
            b'"message":"The server had an error (simulated).","param":null}\n\n'
        )
    elif any(b'"candidates":' in s.data for s in script.steps):
        data = b'data: {"error":{"code":500,"message":"Internal (simulated).","status":"INTERNAL"}}\n\n'
    else:
        data = b"data: " + body + b"\n\n"
    return _cut(script, where, Step(data=data))


def _status(status: int) -> Callable[[Script, Where], Script]:
    message = f"Simulated {status}.".encode()
    body = b'{"error":{"message":"%s","type":"simulated_error","param":null,"code":"%d"}}' % (
        message,
        status,
    )
    return _answer(status, "application/json", body)


def _early(does: str, apply: Callable[[Script, Where], Script]) -> Fault:
    return Fault(does=does, billed="nothing", apply=apply, is_early=True)


#: name → fault. Names are what scenarios, the control API and `x-sim-fault` say.
MENU: dict[str, Fault] = {
    "refused": _early(
        "the port is closed while scheduled; per request: accepted, then reset", _instead("reset")
    ),
    "black_hole": _early("accepts the request and never answers", _instead("hold")),
    "reset_before_headers": _early("resets the connection instead of answering", _instead("reset")),
    **{
        f"status_{s}": _early(f"answers {s} with a JSON error", _status(s))
        for s in (400, 401, 403, 404, 408, 409, 429, 500, 502, 503, 504, 529)
    },
    **{
        f"html_{s}": _early(f"answers {s} with an HTML page", _answer(s, "text/html", _HTML))
        for s in (403, 404, 500, 502, 503)
    },
    "truncated_json_400": _early(
        "answers 400 with half a JSON body", _answer(400, "application/json", b'{"error":{"mess')
    ),
    "truncated_json_500": _early(
        "answers 500 with half a JSON body", _answer(500, "application/json", b'{"error":{"mess')
    ),
    "html_200": _early("answers 200 with an HTML page", _answer(200, "text/html", _HTML)),
    "truncated_json_200": Fault(
        does="answers 200 with part of the body and the length of that part",
        billed="all",
        apply=_early_end,
    ),
    "reset_after_headers": Fault(
        does="sends the head, then resets",
        billed="cut",
        apply=lambda s, w: s.replace(
            steps=(Step(act="reset"),), length=None if s.is_stream else len(s.body)
        ),
    ),
    "reset_mid_body": Fault(
        does="resets between two events, or inside a whole body", billed="cut", apply=_then("reset")
    ),
    "reset_mid_event": Fault(does="resets inside an event", billed="cut", apply=_mid_event),
    "close_mid_body": Fault(
        does="closes cleanly without the end of the HTTP body", billed="cut", apply=_then("close")
    ),
    "early_end": Fault(
        does="ends the HTTP body properly before the answer is complete",
        billed="cut",
        apply=_early_end,
    ),
    "silence": Fault(
        does="stalls in the middle and never goes on", billed="cut", apply=_then("hold")
    ),
    "slow_drip": Fault(
        does=f"sends a byte each {_DRIP_S} s from there on", billed="all", apply=_drip
    ),
    "long_content_length": Fault(
        does="declares 64 bytes more than it sends, then closes", billed="all", apply=_length(64)
    ),
    "short_content_length": Fault(
        does="declares 16 bytes fewer than it sends", billed="all", apply=_length(-16)
    ),
    "gzip_bomb": Fault(
        does=f"answers with a gzip body of {BOMB_BYTES} bytes unpacked", billed="all", apply=_bomb
    ),
    "duplicate_done": Fault(does="sends the end mark twice", billed="all", apply=_done(2)),
    "missing_done": Fault(does="leaves out the end mark", billed="all", apply=_done(0)),
    "missing_usage": Fault(does="leaves out the usage", billed="all", apply=_no_usage),
    "error_in_stream": Fault(
        does="200, then an error event inside the stream (whole: an error body)",
        billed="cut",
        apply=_error_event,
    ),
}
