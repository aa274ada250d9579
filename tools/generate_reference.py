"""Write docs/reference from the code: map, commands, settings, errors, metrics, dialects.

`--check` writes nothing and fails when a page differs from what the code says.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "farthing"
PAGES = ROOT / "docs" / "reference"
NOTICE = "<!-- Generated from the code by `make docs`; edit the code. -->"


class Page(NamedTuple):
    """One file of docs/reference. `render` returns its body in Markdown."""

    name: str
    title: str
    lead: str
    render: Callable[[], str]


def main() -> int:
    """Write or check every page; the exit status is 1 when a checked page is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail on a stale page, write nothing")
    is_check = parser.parse_args().check
    stale = []
    for page in REFERENCE:
        path = PAGES / f"{page.name}.md"
        text = f"# {page.title}\n\n{NOTICE}\n\n{page.lead}\n\n{page.render().strip()}\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT).as_posix())
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if is_check and stale:
        print(f"Stale: {', '.join(stale)}. Run `make docs` and commit the result.")
        return 1
    return 0


# ── Map ──────────────────────────────────────────────────────────────────────────────────────


def render_map() -> str:
    """Every module with its first docstring line, by room."""
    rooms: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if PACKAGE / "templates" / "flows" in path.parents:
            continue  # data: what users start from
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        room = parts[0] if len(parts) > 1 else ""
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = "/".join(parts[:-1]) if parts[-1] == "__init__" else "/".join(parts)
        line = doc.partition("\n")[0]
        row = f"| `{name or 'farthing'}` | {_cell(line)} |"
        rooms.setdefault(room, []).append(row)
    sections = [
        f"## {room or 'farthing'}\n\n| module | purpose |\n|---|---|\n" + "\n".join(sorted(rows))
        for room, rows in rooms.items()
    ]
    return "\n\n".join(sections)


# ── Commands ─────────────────────────────────────────────────────────────────────────────────


def render_commands() -> str:
    """The tree of click commands, each with its usage, help and options."""
    root = _load("farthing.cli.main", "root")
    return "\n\n".join(_command(root, "farthing", None)) if root else _later("command line")


def _command(command: Any, path: str, parent: Any) -> Iterator[str]:
    import click

    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    usage = " ".join((path, *command.collect_usage_pieces(context)))
    text = [f"## {path}" if path.count(" ") < 2 else f"### {path}"]
    text += [_plain(command.help or ""), f"```\n{usage}\n```"]
    rows = [_option_row(option, context) for option in command.get_params(context)]
    rows = [row for row in rows if row]
    if rows:
        text.append("| option | meaning |\n|---|---|\n" + "\n".join(rows))
    yield "\n\n".join(part for part in text if part)
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        try:
            child = command.get_command(context, name)
        except (ImportError, AttributeError):
            child = None
        if child is None:
            yield f"## {path} {name}\n\n{_later('command')}"
        elif not child.hidden:
            yield from _command(child, f"{path} {name}", context)


def _option_row(option: Any, context: Any) -> str:
    if getattr(option, "hidden", False) or "--help" in option.opts:
        return ""
    record = option.get_help_record(context)
    return f"| `{_cell(record[0])}` | {_cell(record[1])} |" if record else ""


# ── Settings ─────────────────────────────────────────────────────────────────────────────────


def render_settings() -> str:
    """Every table of farthing.toml: key, type, default and meaning."""
    settings = _load("farthing.base.config.settings", "Settings")
    return "\n\n".join(_settings_table(settings, "")) if settings else _later("settings file")


def _settings_table(struct: Any, prefix: str) -> Iterator[str]:
    import msgspec

    hints = get_type_hints(struct, include_extras=True)
    rows, tables = [], []
    for field in msgspec.structs.fields(struct):
        bare, meaning = _described(hints[field.name])
        name = field.encode_name
        inner, is_named = _struct_inside(bare)
        if inner is not None:
            path = f"{prefix}{name}.NAME" if is_named else f"{prefix}{name}"
            tables.append((inner, path))
            continue
        default = _default(field)
        rows.append(f"| `{name}` | {_type(bare)} | {default} | {_cell(meaning)} |")
    heading = f"## [{prefix.rstrip('.')}]" if prefix else "## At the top"
    if rows:
        lead = _plain(struct.__doc__ or "") if prefix else ""
        head = "| key | type | default | meaning |\n|---|---|---|---|"
        yield "\n\n".join(filter(None, (heading, lead, head + "\n" + "\n".join(rows))))
    for inner, path in tables:
        yield from _settings_table(inner, f"{path}.")


def _described(hint: Any) -> tuple[Any, str]:
    if get_origin(hint) is not Annotated:
        return hint, ""
    bare, *notes = get_args(hint)
    meanings = [note.description for note in notes if getattr(note, "description", None)]
    return bare, " ".join(meanings)


def _struct_inside(hint: Any) -> tuple[Any, bool]:
    """The settings table a field holds, and whether it holds many by name."""
    import msgspec

    options = get_args(hint) if get_origin(hint) in {types.UnionType, typing.Union} else (hint,)
    for option in options:
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option, False
        if get_origin(option) is dict:
            value = _described(get_args(option)[1])[0]
            if isinstance(value, type) and issubclass(value, msgspec.Struct):
                return value, True
    return None, False


def _type(hint: Any) -> str:
    hint = _described(hint)[0]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in {types.UnionType, typing.Union}:
        return " or ".join(_type(option) for option in arguments if option is not type(None))
    if origin in {tuple, list, frozenset, set}:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"table of {_type(arguments[1])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _default(field: Any) -> str:
    import msgspec

    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list | dict | set | frozenset):
        items = ", ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in value)
        return f"`[{items}]`" if items else "none"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


# ── Errors ───────────────────────────────────────────────────────────────────────────────────


def render_errors() -> str:
    """Every error with its code, HTTP status, whether a retry makes sense, and its meaning."""
    root = _load("farthing.core.errors", "FarthingError")
    if root is None:
        return _later("error tree")
    rows = [
        f"| {'&nbsp;' * 4 * depth}`{error.__name__}` | `{error.code}` | {error.status} "
        f"| {'yes' if error.retryable else 'no'} | {_cell(_first_paragraph(error))} |"
        for error, depth in _descendants(root, 0)
    ]
    head = "| error | code | status | retry | meaning |\n|---|---|---|---|---|"
    return head + "\n" + "\n".join(rows)


def _descendants(error: Any, depth: int) -> Iterator[tuple[Any, int]]:
    yield error, depth
    for child in error.__subclasses__():
        if child.__module__ == error.__module__:
            yield from _descendants(child, depth + 1)


# ── Metrics ──────────────────────────────────────────────────────────────────────────────────


def render_metrics() -> str:
    """Every Prometheus series that `/metrics` shows."""
    try:
        module = importlib.import_module("farthing.base.telemetry.metrics")
    except ModuleNotFoundError:
        return _later("metrics table")
    rows = [
        f"| `{spec.name}` | {spec.kind} | {', '.join(f'`{label}`' for label in spec.labels) or '—'} "
        f"| {_cell(spec.help)} |"
        for spec in _metric_specs(module)
    ]
    head = "| series | kind | labels | meaning |\n|---|---|---|---|"
    return head + "\n" + "\n".join(rows) if rows else _later("metrics table")


def _metric_specs(module: types.ModuleType) -> list[Any]:
    """Records with name, kind, labels and help: constants of the module, alone or in a list."""
    found: dict[str, Any] = {}
    for value in vars(module).values():
        candidates = value.values() if isinstance(value, dict) else value
        if not isinstance(value, tuple | list | dict):
            candidates = (value,)
        for spec in candidates:
            is_spec = all(hasattr(spec, name) for name in ("name", "kind", "labels", "help"))
            if is_spec and isinstance(spec.name, str):
                found[spec.name] = spec
    return [found[name] for name in sorted(found)]


# ── Shared by the pages ──────────────────────────────────────────────────────────────────────


def _load(module: str, attribute: str) -> Any:
    """The thing, or None while the module does not exist yet."""
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            return None
        raise


def _later(subject: str) -> str:
    return f"*There is no {subject} in this version yet.*"


def _first_paragraph(thing: Any) -> str:
    return _plain((thing.__doc__ or "").strip().partition("\n\n")[0])


def _plain(text: str) -> str:
    """Click's and docstrings' text as Markdown: no form feeds, no indentation."""
    return "\n".join(line.strip() for line in text.replace("\b", "").splitlines()).strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


REFERENCE = (
    Page("map", "Map", "What each module is for, room by room.", render_map),
    Page(
        "commands",
        "Commands",
        "Every command explains itself with `--help`.",
        render_commands,
    ),
    Page(
        "settings",
        "Settings",
        "The keys of `farthing.toml`. `[routes.NAME]` is one table per name. The environment wins "
        "over the file: `FARTHING_SERVER__PORT=5000` sets `server.port`.",
        render_settings,
    ),
    Page(
        "errors",
        "Errors",
        "`code` is stable and meant for programs. `retry` says whether the same call may succeed "
        "later or elsewhere without change. A single error may override its class.",
        render_errors,
    ),
    Page("metrics", "Metrics", "The Prometheus series at `/metrics`.", render_metrics),
    Page(
        "dialects",
        "Dialects",
        "Any client may call any provider's model. Where both speak the same dialect, every byte passes "
        "but the model's name. Where they differ, this is what happens to each field, as the codecs "
        "answer it. Azure OpenAI and OpenAI speak both of OpenAI's dialects, compatible vendors mostly "
        "`openai-chat`. A legacy completion is asked as a chat where the provider has none; embeddings are "
        "not translated. `tests/compat` asks each "
        "pair with the client's own package.",
        lambda: str(_load("generate_dialects", "render")()),
    ),
)

if __name__ == "__main__":
    sys.exit(main())
