"""Commands that take words the way prompt flow's do: `--inputs a=1 b=2`, and long options cut short."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from farthing.core.errors import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

#: What begins an option; `-1` and `-` are values.
_OPTION = re.compile(r"--?[A-Za-z]")


class Many(click.Option):
    """An option that takes every word up to the next option. Its value is a tuple of texts.

    alone: its value where no word follows; without it there must be one.
    """

    def __init__(self, *arguments: Any, alone: str | None = None, **more: Any) -> None:
        self.alone = alone
        more.setdefault("metavar", "WORD …")
        more["multiple"] = True
        super().__init__(*arguments, **more)


class SpacedCommand(click.Command):
    """A command whose `Many` options take several words, and whose long options may be cut short."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        return super().parse_args(ctx, self._spread(ctx, args))

    def _spread(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        """The words as click wants them: whole names, and each further value behind its option's name."""
        options = {
            name: each
            for each in self.get_params(ctx)
            if isinstance(each, click.Option)
            for name in (*each.opts, *each.secondary_opts)
        }
        spread: list[str] = []
        at = 0
        while at < len(args):
            word, at = args[at], at + 1
            if word == "--":
                return [*spread, word, *args[at:]]
            name, equals, value = word.partition("=")
            if name.startswith("--"):
                name = self._whole(ctx, name, options)
            option = options.get(name)
            if isinstance(option, Many):
                values = [value] if equals else []
                while at < len(args) and not _OPTION.match(args[at]):
                    values.append(args[at])
                    at += 1
                if not values and option.alone is not None:
                    values = [option.alone]
                if not values:
                    ctx.fail(f"{name} needs at least one value, e.g. {name} key=value.")
                for each in values:
                    spread += [name, each]
                continue
            spread.append(name + equals + value)
            if option is not None and not equals and _takes_a_value(option) and at < len(args):
                spread.append(args[at])
                at += 1
        return spread

    def _whole(self, ctx: click.Context, name: str, options: dict[str, click.Option]) -> str:
        if name in options:
            return name
        near = sorted({each for each in options if each.startswith(name)})
        if len({id(options[each]) for each in near}) == 1:
            return near[0]
        if near:
            ctx.fail(f"{name} may be {' or '.join(near)}. Write one of them whole.")
        hint = did_you_mean(name, [each for each in options if each.startswith("--")])
        return ctx.fail(
            f"There is no option {name}. {hint or f'`{ctx.command_path} --help` lists them.'}"
        )


def many(*names: str, **more: Any) -> Callable[[F], F]:
    """An option that takes several words; see `Many`."""
    return click.option(*names, cls=Many, **more)


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """`key=value` words as a mapping; quotes around a word or a value fall away. Raises click.UsageError."""
    found = {}
    for word in words:
        key, equals, value = unquoted(word).partition("=")
        if not equals or not key:
            raise click.UsageError(
                f"{option} takes key=value, and '{word[:60]}' has no '='. Quote values with blanks."
            )
        found[key] = unquoted(value)
    return found


def unquoted(text: str) -> str:
    """The text without one pair of quotes around it."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _takes_a_value(option: click.Option) -> bool:
    # One with a flag_value may stand alone, so its value is left to click to find.
    may_stand_alone = isinstance(option.flag_value, str)
    return not option.is_flag and not option.count and not may_stand_alone
