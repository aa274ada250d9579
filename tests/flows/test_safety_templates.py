"""A template reaches nothing of Python, and ends: in bounded time, steps and memory, whatever is written in it."""

# ruff: noqa: E501 -- a template of these lists is read best on one line

from __future__ import annotations

import resource
import time
from typing import Any

import pytest
from jinja2.sandbox import SandboxedEnvironment

from farthing.flows.prompts import sandbox
from farthing.flows.prompts.images import Image
from farthing.flows.prompts.templates import PromptError, render

pytestmark = pytest.mark.slow


BIG = "x" * 1_000_000
#: Templates that Jinja's own sandbox would run for hours, or until the machine has no memory left.
ENDLESS = {
    "a range": "{% for i in range(10**9) %}{% endfor %}",
    "a range as a list": "{{ range(10**9) | list | length }}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops over a text": "{% for a in big %}{% for b in big %}{% endfor %}{% endfor %}",
    "a loop that calls itself": "{% for x in [1,2,3,4] recursive %}{{ loop([1,2,3,4]) }}{% endfor %}",
    "ranges in a loop that calls itself": "{% for x in range(9999) recursive %}{% if loop.depth < 5 %}"
    "{{ loop(range(9999)) }}{% endif %}{% endfor %}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "macros that branch": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "a caller": "{% macro m() %}{{ caller() }}{% endmacro %}{% for i in range(99999) %}{% for j in range(99999) %}"
    "{% call m() %}x{% endcall %}{% endfor %}{% endfor %}",
    "a text times a number": "{{ 'a' * 10**10 }}",
    "a number times a text": "{{ 10**10 * 'a' }}",
    "a list times a number": "{{ ([1] * 10**10) | length }}",
    "a tuple times a number": "{{ ((1,) * 10**10) | length }}",
    "a power": "{{ 10 ** 10 ** 10 }}",
    "a power of powers": "{{ 9 ** 9 ** 9 }}",
    "a number squared again": "{% set n = namespace(x=7) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "a text joined to itself": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a text added to itself": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "a list added to itself": "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "a list that grows by itself": "{% set a = [1] %}{% for i in range(60) %}{% set _ = a.extend(a) %}{% endfor %}",
    "a dict that grows": "{% set d = {} %}{% for i in range(99999) %}{% for j in range(99999) %}"
    "{% set _ = d.update({(i, j): big}) %}{% endfor %}{% endfor %}",
    "lists in lists": "{% set n = namespace(x=[big]) %}{% for i in range(30) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "a list in itself": "{% set a = [1] %}{% set _ = a.append(a) %}{% for i in range(9999) %}{{ a | tojson }}{% endfor %}",
    "output in a loop": "{% for i in range(99999) %}{{ big }}{% endfor %}",
    "output in a block": "{% set x %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endset %}{{ x | length }}",
    "output in a macro": "{% macro m() %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endmacro %}{{ m() | length }}",
    "output in a filter": "{% filter upper %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endfilter %}",
    "a list of texts": "{{ [big] * 99999 }}",
    "a list of texts, joined": "{{ ([big] * 99999) | join }}",
    "a generator of texts, joined": "{{ range(99999) | map('replace', '1', big) | join(big) }}",
    "a separator": "{{ range(99999) | join(big) }}",
    "a text's join": "{{ big.join(['a'] * 99999) }}",
    "replacing": "{{ big | replace('x', big) }}",
    "replacing nothing": "{{ big | replace('', big) }}",
    "a text's replace": "{{ big.replace('x', big) }}",
    "translating": "{{ big.translate({120: big}) }}",
    "centring": "{{ 'a' | center(10**10) }}",
    "centring in a map": "{{ ['a'] | map('center', 10**10) | list }}",
    "a text's ljust": "{{ 'a'.ljust(10**10) }}",
    "a text's zfill": "{{ '1'.zfill(10**10) }}",
    "tabs": "{{ ('\t' * 99999).expandtabs(99999) }}",
    "indenting": "{{ 'a\nb' | indent(10**10) }}",
    "indenting with a text": "{{ ('\n' * 99999) | indent(big) }}",
    "a format's width": "{{ '%1000000000d' | format(1) }}",
    "a format's width, an argument": "{{ '%*d' | format(10**10, 1) }}",
    "percent": "{{ '%10000000000s' % 'a' }}",
    "percent, an argument": "{{ '%*s' % (10**10, 'a') }}",
    "a text's format": "{{ '{:10000000000}'.format(1) }}",
    "a text's format, an argument": "{{ '{:{w}}'.format(1, w=10**10) }}",
    "a text's format_map": "{{ '{a:10000000000}'.format_map({'a': 1}) }}",
    "rounding": "{{ 7 | round(-10**10) }}",
    "rounding up": "{{ 1.5 | round(10**10, 'ceil') }}",
    "slicing": "{{ [1] | slice(10**10) | list }}",
    "batches": "{{ [1] | batch(10**10, 0) | list }}",
    "lorem ipsum": "{{ lipsum(n=10**9) }}",
    "long paragraphs": "{{ lipsum(n=1, max=10**9) }}",
    "JSON's indent": "{{ [[[1]]] | tojson(indent=10**10) }}",
    "adding lists up": "{{ ([[1] * 99] * 9999) | sum(start=[]) | length }}",
    "wrapping": "{% for i in range(99999) %}{{ big | wordwrap | length }}{% endfor %}",
    "searching": "{% for i in range(99999) %}{% for j in range(9999) %}{% if 'y' in big %}{% endif %}{% endfor %}{% endfor %}",
    "sorting": "{% for i in range(99999) %}{% set _ = range(99999) | sort | list %}{% endfor %}",
    "brackets": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    "signs": "{{ " + "-" * 5_000 + "1 }}",
    "additions": "{{ " + "1+" * 5_000 + "1 }}",
    "dots": "{{ a" + ".a" * 5_000 + " }}",
    "lists of lists": "{{ " + "[" * 5_000 + "]" * 5_000 + " }}",
    "conditions": "{% if 1 %}" * 2_000 + "{% endif %}" * 2_000,
    "filters of filters": "{{ 'a'" + " | upper" * 5_000 + " }}",
}  # fmt: skip
#: Ways out of the sandbox that are known; what they print, if anything, is empty.
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ '' | attr('__cl' ~ 'ass__') }}",
    "{{ [''] | map(attribute='__class__') | list }}",
    "{{ [image] | map(attribute='__reduce__') | list }}",
    "{{ [image] | map('attr', '__class__') | list }}",
    "{{ [image] | selectattr('__class__') | list }}",
    "{{ [image] | sort(attribute='__class__') }}",
    "{{ [image] | groupby('__class__') }}",
    "{{ image.__init__.__globals__ }}",
    "{{ image._mime_type.__class__ }}",
    "{{ function.__globals__ }}",
    "{{ function.__code__.co_consts }}",
    "{{ generator.gi_frame.f_globals }}",
    "{{ generator.gi_code }}",
    "{{ '{0.__class__}'.format(image) }}",
    "{{ '{0.__class__.__init__}'.format(image) }}",
    "{{ '{a.__class__}'.format_map({'a': image}) }}",
    "{{ ('{0.__class__}' | attr('format'))(image) }}",
    "{{ (['{0.__class__}'] | first).format(image) }}",
    "{{ '%(a)s' % {'a': ''.__class__} }}",
    "{{ lipsum.__globals__ }}",
    "{{ range.__call__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(a=1)._Namespace__attrs }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ dict.mro() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ loop.__class__ }}{% for x in [1] %}{{ loop._iterable.__class__ }}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m.__class__ }}{{ m._func.__globals__ }}{{ m._environment }}",
    "{% macro m() %}{{ caller.__class__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% set n = namespace() %}{% set n.__class__ = 1 %}",
    "{% set image.mime_type = 'x' %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{% extends '/etc/passwd' %}",
    "{% from 'os' import system %}",
    "{{ undefined.__class__ }}",
    "{{ (undefined | default(image)).__class__ }}",
    "{{ ().__getattribute__('__class__') }}",
    "{{ image.maketrans.__self__ }}",
    "{{ [].append.__self__ }}{{ ''.join.__func__ }}",
    "{{ environment }}{{ context }}{{ resolve }}{{ __builtins__ }}{{ __import__ }}",
]


#: What would be seen if one of them led out.
TELLING = (
    "<class", "<function", "<module", "<bound", "object at", "subclasses", "__builtins__", "root:", "uid=",
)  # fmt: skip


def values() -> dict[str, Any]:
    def function() -> str:
        return "secret"

    return {
        "big": BIG,
        "image": Image(b"\x89PNG\r\n\x1a\n", "image/png"),
        "function": function,
        "generator": (x for x in [1]),
    }


@pytest.mark.parametrize("template", ENDLESS.values(), ids=ENDLESS)
def test_a_template_ends_within_its_bounds(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_RENDER_S", 0.1)
    memory, began = _peak_mib(), time.process_time()
    try:
        render(template, values())
    except PromptError as error:
        # No machine has memory for what is asked here; that it ends there would be no bound of ours.
        assert not isinstance(error.__cause__, MemoryError | OverflowError)
    # What a single step may do after the last look at the clock comes on top.
    assert time.process_time() - began < sandbox.MAX_RENDER_S + 2.0
    assert _peak_mib() - memory < 400


@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_reaches_nothing_of_python(template: str) -> None:
    try:
        shown = render(template, values())
    except PromptError as error:
        shown = error.message
    assert not any(word in shown for word in TELLING), shown


def test_time_ends_a_template_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_RENDER_S", 0.05)
    slow = "{% for i in range(99999) %}{% if 'y' in big %}{% endif %}{% endfor %}"
    with pytest.raises(PromptError, match=r"work of more than 0\.05 s"):
        render(slow, values())


def test_what_was_used_up_is_there_again_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_STEPS", 5_000)
    long = "{% for i in range(900) %}{% for j in range(3) %}{% endfor %}{% endfor %}done"
    assert [render(long, {}) for _ in range(3)] == ["done"] * 3
    with pytest.raises(PromptError, match="more than 5,000 steps"):
        render(long.replace("range(3)", "range(9)"), {})


#: What prompts do, with the values below.
HONEST = [
    "{{ q }} and {{ missing }}{{ missing | default('none') }}",
    "{% for item in items %}{{ loop.index }}/{{ loop.length }}: {{ item.name }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for item in items %}{{ loop.index0 + 1 }}{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }}{% else %}no{% endfor %}",
    "{% for item in [] %}{% else %}none{% endfor %}{% for x in missing %}{{ x }}{% endfor %}",
    "{% for a, b in pairs %}{{ a }}{{ b }}{% endfor %}{% for k, v in more.items() %}{{ k }}={{ v }}{% endfor %}",
    "{% for x in items if x.n > 1 %}{{ x.n }}{{ loop.length }}{% endfor %}{% for x in q %}{{ x }}{% endfor %}",
    "{% for x in tree recursive %}{{ x.n }}{% if x.of %}({{ loop(x.of) }}){% endif %}{% endfor %}",
    "{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{% if loop.changed(i) %}!{% endif %}{% endfor %}",
    "{{ 'a' ~ 1 ~ none ~ missing ~ items }}{{ 'a' * 3 }}{{ [1] * 2 + [3] }}{{ 2 ** 10 }}{{ 7 % 4 }}{{ '%s-%02d' % ('x', 3) }}",
    "{{ items | map(attribute='name') | join(', ') | upper }}{{ items | map(attribute='n') | sum }}",
    "{{ items | selectattr('n', '>', 1) | map(attribute='n') | list }}{{ items | rejectattr('n', 'eq', 1000000) | list | length }}",
    "{{ items | groupby('n') | list | length }}{{ items | sort(attribute='name', reverse=true) | first }}",
    "{{ more | tojson }}{{ more | tojson(indent=2) }}{{ more | dictsort }}{{ more }}{{ items }}",
    "{{ q | replace('e', 'E') | trim | title | truncate(5) | wordwrap(3) | indent(2) | center(20) }}",
    "{{ '{:>5}|{a}'.format(q, a=1) }}{{ '%5s' | format(q) }}{{ ', '.join(['a', 'b']) }}{{ q.split() }}{{ q.ljust(9) }}",
    "{{ 1000000 | default(2000000) }}{{ missing | default(2000000) }}{{ '5' | int(1000000) }}{{ 2000000 | filesizeformat }}",
    "{% macro m(x, y=2) %}{{ x }}{{ y }}{{ varargs }}{{ caller() if caller }}{% endmacro %}{{ m(1) }}{% call m(3) %}c{% endcall %}",
    "{% set n = namespace(x=0) %}{% for i in range(5) %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}{% set y %}b{{ q }}{% endset %}{{ y }}",
    "{% filter upper %}{{ q }}{% endfilter %}{{ q | upper | lower | length }}{{ q[::-1] }}{{ q[:2] }}{{ items[-1].name }}",
    "{{ 7.5 | round }}{{ 2.567 | round(1, 'ceil') }}{{ -3 | abs }}{{ [3, 1] | max }}{{ [1, 2, 3, 4] | batch(2, 0) | list }}",
    "{{ [1, 2, 3] | slice(2) | list }}{{ [[1], [2]] | sum(start=[]) }}{{ 'a b' | urlencode }}{{ '<b>' | e }}{{ '<b>x</b>' | striptags }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{% set j = joiner('+') %}{{ j() }}x{{ j() }}y{{ dict(a=1) }}",
    "{% if q is string and 'e' in q and items is iterable and missing is undefined %}yes{% endif %}{{ 'x' if q else 'y' }}",
    "{% raw %}{{ q }}{% endraw %}{# no #}{%- if true -%} x {%- endif %}\n\n{{ none }}{{ true }}{{ 1.0 }}\n",
]  # fmt: skip


@pytest.mark.parametrize("template", HONEST)
def test_what_prompts_do_comes_out_as_from_jinja_itself(template: str) -> None:
    given: dict[str, Any] = {
        "q": "hello there",
        "items": [{"name": "a", "n": 1}, {"name": "b", "n": 2}, {"name": "c", "n": 2}],
        "pairs": [(1, 2), [3, 4]],
        "more": {"b": [1, {"c": None}], "a": "ü<'>"},
        "tree": [{"n": 1, "of": [{"n": 2, "of": []}]}, {"n": 3}],
    }
    plain = SandboxedEnvironment(trim_blocks=True, keep_trailing_newline=True)
    assert render(template, given) == plain.from_string(template).render(given)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
