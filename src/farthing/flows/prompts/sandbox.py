"""The sandbox of templates: Jinja's, with bounds on time, steps and sizes. A template is no program that may run on.

Jinja's own keeps a template from Python's insides; it does not mind `"a" * 10**9`, or loops within loops within loops.
Here every step of a loop, every call and filter, every text and list that is made is counted before it is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import wraps
from itertools import chain
from typing import Any, cast

from jinja2 import Environment, Template, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import generate_lorem_ipsum
from jinja2.visitor import NodeTransformer

from farthing.base.clock import SystemClock

#: Steps of one `range`, and the largest number that says a width or a count.
MAX_RANGE = 100_000
#: Steps of all loops, calls and filters of one rendering together.
MAX_STEPS = 500_000
#: Characters that one rendering makes or goes through, all together, an item of a list as ten; memory and time are in
#: proportion to it.
MAX_WORK = 50_000_000
#: Seconds. A rendering of a megabyte takes milliseconds.
MAX_RENDER_S = 2.0
#: Characters of a rendered prompt; the longest contexts take some four million.
MAX_RENDERED = 16_000_000
#: The clock is looked at every so many steps, and before a step with so much work.
_STEPS_A_LOOK, _WORK_A_LOOK = 32, 10_000
#: Lists within each other; far above it Python itself gives up.
_MAX_DEPTH = 500
#: Bits of a whole number.
_MAX_BITS = 100_000
#: Filters for which a number is a width, a count or a power of ten.
_WIDTHS = frozenset(
    {"batch", "center", "indent", "pprint", "round", "slice", "tojson", "truncate", "wordwrap"}
)
#: Filters that take some twenty times as long as others for a text.
_SLOW = {"pprint": 20, "urlize": 20, "wordwrap": 20}
_WIDE_STR = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})
#: A width in a format, of six digits or taken from an argument.
_WIDE_PERCENT = re.compile(r"%[^a-zA-Z%]*(?:\d{6}|\*)")
_WIDE_BRACES = re.compile(r"\{[^{}]*(?:\d{6}|:[^{}]*\{)")


class _Budget:
    """What one rendering may still do."""

    __slots__ = ("_deadline", "_steps", "_work")

    def __init__(self) -> None:
        self._steps, self._work = MAX_STEPS, MAX_WORK
        self._deadline = SystemClock.monotonic() + MAX_RENDER_S

    def spend(self, work: int) -> None:
        """One step that makes or goes through so much. Raises SecurityError."""
        self._steps -= 1
        self._work -= work
        if self._steps < 0:
            raise SecurityError(f"more than {MAX_STEPS:,} steps")
        if self._work < 0:
            raise SecurityError(f"texts and lists of more than {MAX_WORK:,} characters and items")
        is_due = self._steps % _STEPS_A_LOOK == 0 or work > _WORK_A_LOOK
        if is_due and SystemClock.monotonic() > self._deadline:
            raise SecurityError(f"work of more than {MAX_RENDER_S:g} s")


_BUDGET: ContextVar[_Budget] = ContextVar("farthing_template_budget")


def compiled(template: str, *, keeps_lines: bool = False) -> Template:
    """The template, ready for `rendered`. Raises TemplateSyntaxError.

    keeps_lines: the line's end behind a block stays.
    """
    here = _SANDBOXES[keeps_lines]
    made: Template = here.from_string(_Counted(here).visit(here.parse(template)))
    return made


def rendered(template: Template, values: Mapping[str, Any]) -> str:
    """The template with its values. Raises SecurityError for what it may not do, and what its expressions raise."""
    token = _BUDGET.set(_Budget())
    try:
        return _concat(template.generate(values), MAX_RENDERED)
    finally:
        _BUDGET.reset(token)


class _Counted(NodeTransformer):
    """Puts the counting of loops and of joined texts into a template."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 -- the node's name
        """Its items pass through `_each`."""
        self.generic_visit(node)
        node.iter = self._filter(node.iter, _EACH)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 -- the node's name
        """`a ~ b`."""
        self.generic_visit(node)
        texts = nodes.List(node.nodes, lineno=node.lineno, environment=self._environment)
        return self._filter(texts, _JOINED)

    def _filter(self, node: nodes.Node, name: str) -> nodes.Filter:
        return nodes.Filter(
            cast("nodes.Expr", node),
            name,
            [],
            [],
            None,
            None,
            lineno=node.lineno,
            environment=self._environment,
        )


#: Filters that no template can name.
_EACH, _JOINED = "each item", "joined texts"


class _Sandbox(SandboxedEnvironment):
    """Like prompt flow's it lets templates change lists that are passed in."""

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(self, *, keeps_lines: bool) -> None:
        super().__init__(
            trim_blocks=not keeps_lines,
            keep_trailing_newline=True,
            cache_size=0,
            finalize=_weighed,
        )
        self.globals["range"] = _short_range
        self.globals["lipsum"] = _short_lipsum
        self.filters = {name: _metered(name, each) for name, each in self.filters.items()}
        self.filters[_EACH], self.filters[_JOINED] = _each, _joined

    @staticmethod
    def concat(texts: Iterable[str]) -> str:
        """For macros and blocks, whose texts are made apart."""
        return _concat(texts)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 -- Jinja's names: arguments may be called `self`
        # Jinja wraps a text's `format`, to guard what the format refers to.
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        work = sum(map(_weigh, args)) + sum(map(_weigh, kwargs.values()))
        if isinstance(owner, str):
            work += _work_of_text(owner, getattr(__obj, "__name__", ""), args, kwargs)
        elif isinstance(owner, list | dict) and getattr(__obj, "__name__", "") != "append":
            work += len(owner)
        _spend(work)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The operators that can make much out of little."""
        if operator == "*":
            _spend(_work_of_product(left, right))
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() * max(right, 0))
        elif operator == "%" and isinstance(left, str):
            _check_format(_WIDE_PERCENT, left)
            _spend(len(left) + _weigh(right))
        elif operator == "+" and not isinstance(left, int | float):
            _spend(_length(left) + _length(right))
        return super().call_binop(context, operator, left, right)


def _spend(work: int) -> None:
    _BUDGET.get().spend(work)


def _weigh(value: Any) -> int:
    """Characters in a value, and ten for each item, at any depth; it stops where there are too many.

    A list that holds itself has too many.
    """
    if isinstance(value, str):
        return len(value)
    total, under_way = 0, [iter((value,))]
    while under_way and total <= MAX_WORK:
        for each in under_way[-1]:
            total += len(each) if isinstance(each, str | bytes | range) else 10
            if isinstance(each, dict):
                under_way.append(chain(each, each.values()))
                break
            if isinstance(each, list | tuple | set):
                under_way.append(iter(each))
                break
        else:
            under_way.pop()
        if len(under_way) > _MAX_DEPTH:
            return MAX_WORK + 1
    return total


def _length(value: Any) -> int:
    is_sized = isinstance(value, str | bytes | list | tuple | dict | set | range)
    return len(value) if is_sized else 1


def _weighed(value: Any) -> Any:
    """What is printed, before it becomes text."""
    if not isinstance(value, str | int | float) and value is not None:
        _spend(_weigh(value))
    return value


def _concat(texts: Iterable[str], limit: int = MAX_WORK) -> str:
    pieces, size = [], 0
    for text in texts:
        size += len(text)
        if size > limit:
            raise SecurityError(f"a text of more than {limit:,} characters")
        pieces.append(text)
    return "".join(pieces)


# --- what templates call ---


@pass_context
def _each(_: Context, items: Iterable[Any]) -> Iterator[Any]:
    budget = _BUDGET.get()
    for item in items:
        budget.spend(1)
        yield item


@pass_context
def _joined(_: Context, values: list[Any]) -> str:
    _spend(_weigh(values))
    return "".join(map(str, values))


def _short_range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MAX_RANGE:
        raise SecurityError(f"a range of more than {MAX_RANGE:,} steps")
    return made


def _short_lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:  # noqa: A002 -- Jinja's names
    _check_width(n * max)
    return generate_lorem_ipsum(n, html, min, max)


def _metered(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts. It wants the context, so that it is never run before there is a budget."""
    wanted = getattr(getattr(filter_, "jinja_pass_arg", None), "name", None)

    @wraps(filter_)
    def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if name in ("join", "sum", "list") and not hasattr(value, "__len__"):
            value = list(_each(context, value))
        work = sum(map(_weigh, (value, *args, *kwargs.values()))) * _SLOW.get(name, 1)
        _spend(work + _work_of_filter(name, value, args, kwargs))
        first = {
            "context": context,
            "eval_context": context.eval_ctx,
            "environment": context.environment,
        }
        given = (value, *args) if wanted is None else (first[wanted], value, *args)
        made = filter_(*given, **kwargs)
        _spend(_length(made))
        return made

    return pass_context(metered)


# --- how much work it is ---


def _work_of_filter(name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Beyond going through what it is given."""
    every = (*args, *kwargs.values())
    if name in _WIDTHS:
        for each in every:
            _check_width(each)
    if name == "replace" and len(every) > 1:
        return _work_of_replacing(str(value), str(every[0]), str(every[1]))
    if name == "join":
        return _length(value) * sum(len(str(each)) for each in every[:1])
    if name == "indent":
        width = max((each if isinstance(each, int) else _length(each) for each in every), default=4)
        return (str(value).count("\n") + 1) * width
    if name == "format":
        _check_format(_WIDE_PERCENT, str(value))
    if name in ("batch", "center", "slice"):
        return sum(each for each in every if isinstance(each, int))
    if name == "sum" and not all(isinstance(each, int | float | str | None) for each in every):
        return _length(value) * _weigh(value)  # lists that are added up are copied each time
    return 0


def _work_of_text(text: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """A method of a text."""
    every = (*args, *kwargs.values())
    if method in _WIDE_STR:
        for each in every:
            _check_width(each)
    if method in ("format", "format_map"):
        _check_format(_WIDE_BRACES, text)
    if method == "replace" and len(args) > 1:
        return _work_of_replacing(text, str(args[0]), str(args[1]))
    if method == "join" and args:
        return len(text) * (_weigh(args[0]) + 1)
    if method == "expandtabs":
        return len(text) + text.count("\t") * max(
            [8, *(each for each in every if isinstance(each, int))]
        )
    if method == "translate" and args and isinstance(args[0], dict):
        return len(text) * max((_length(each) for each in args[0].values()), default=1)
    return len(text)


def _work_of_replacing(text: str, old: str, new: str) -> int:
    return len(text) + text.count(old) * len(new)


def _work_of_product(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
        return 1
    if isinstance(right, int):
        return _length(left) * max(right, 0)
    return _length(right) * max(left, 0) if isinstance(left, int) else 1


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise SecurityError(f"a number of more than {_MAX_BITS:,} bits")


def _check_width(value: Any) -> None:
    if isinstance(value, int | float) and abs(value) > MAX_RANGE:
        raise SecurityError(f"a width or count of more than {MAX_RANGE:,}")


def _check_format(wide: re.Pattern[str], text: str) -> None:
    if wide.search(text):
        raise SecurityError("a format with a width of six digits, or one that is an argument")


_SANDBOXES = {each: _Sandbox(keeps_lines=each) for each in (False, True)}
