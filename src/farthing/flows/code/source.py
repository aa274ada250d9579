"""Python files of a flow: imported with the flow's folder first on the path, their node found."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows import shim
from farthing.flows.code.modules import FlowModules
from farthing.flows.code.tool import ToolProvider, is_node, marked_functions

#: Modules of our own name, so that two flows may each have a `tools.py`.
_PREFIX = "farthing_flow_"
#: Where Python says that it found a module: true of this machine alone.
_PLACE = re.compile(r" \((?:/|[A-Za-z]:\\).*\)$")
_MODULES = FlowModules(_PREFIX)


def load_module(folder: Path, path: str) -> ModuleType:
    """Import a file of a flow. Raises FlowFormatError that says what in it failed, and where.

    It finds our `promptflow`; what its functions import later does so unless the package is installed.
    """
    file = (folder / path).resolve()
    digest = blake2b(str(file).encode(), digest_size=6).hexdigest()
    name = f"{_PREFIX}{digest}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise FlowFormatError("This is not a Python file.", path=str(file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        shim.install()
        with on_path(folder), shim.active():
            spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise FlowFormatError(
            f"This is not Python: {error.msg}.", path=error.filename or str(file), line=error.lineno
        ) from error
    except shim.UnsupportedImportError as error:
        del sys.modules[name]
        raise FlowFormatError(
            error.message, hint=error.hint or None, path=str(file), line=_line(error, file)
        ) from error
    except ModuleNotFoundError as error:
        del sys.modules[name]
        raise FlowFormatError(
            f"It imports '{error.name}', which is not installed.",
            hint=_how_to_get(error.name, folder),
            path=str(file),
            line=_line(error, file),
        ) from error
    except Exception as error:  # border: the user's module
        del sys.modules[name]
        raise FlowFormatError(
            f"Importing it failed with {type(error).__name__}: {_PLACE.sub('', str(error))}",
            path=str(file),
            line=_line(error, file),
        ) from error
    return module


def load_function(folder: Path, path: str, name: str | None = None) -> Callable[..., Any]:
    """The node of a file: the function of that name, else the one that is marked `@tool` or `@node`.

    It may be a method of a ToolProvider; see `provider_of`. Raises FlowFormatError: none, several, or no
    such name.
    """
    module = load_module(folder, path)
    if name is not None:
        found = getattr(module, name, None)
        if not callable(found):
            names = [key for key, thing in vars(module).items() if callable(thing)]
            raise FlowFormatError(
                f"It has no function '{name}'.",
                hint=did_you_mean(name, names),
                path=str(folder / path),
            )
        return found  # type: ignore[no-any-return]
    marked = marked_functions(module) or _methods(module)
    marked = marked or {key: thing for key, thing in vars(module).items() if is_node(thing)}
    if len(marked) == 1:
        return next(iter(marked.values()))
    if marked:
        raise FlowFormatError(
            f"It has {len(marked)} functions with @tool: {', '.join(marked)}.",
            hint="Keep one in each file, and move the others.",
            path=str(folder / path),
        )
    raise FlowFormatError(
        "It has no function with @tool.",
        hint="Write `from promptflow.core import tool` and put @tool above the function that is the node.",
        path=str(folder / path),
    )


def provider_of(function: Callable[..., Any]) -> type[ToolProvider] | None:
    """The class whose method a function is, when the class is a ToolProvider of its module."""
    owner, _, method = getattr(function, "__qualname__", "").rpartition(".")
    module = sys.modules.get(getattr(function, "__module__", ""))
    found = getattr(module, owner, None) if owner else None
    is_provider = isinstance(found, type) and issubclass(found, ToolProvider)
    return found if is_provider and hasattr(found, method) else None


def _methods(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The marked methods of the tool providers that the module defines."""
    return {
        f"{kind.__name__}.{key}": thing
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, ToolProvider)
        and kind.__module__ == module.__name__
        for key, thing in vars(kind).items()
        if is_node(thing)
    }


def on_path(folder: Path) -> AbstractContextManager[None]:
    """The folder first on the import path, for the block; see `FlowModules.first`."""
    return _MODULES.first(str(folder.resolve()))


def _line(error: BaseException, file: Path) -> int | None:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == file
    ]
    return lines[-1] if lines else None


def _how_to_get(name: str | None, folder: Path) -> str:
    wanted = folder / "requirements.txt"
    if wanted.is_file():
        return f"Install what the flow needs: pip install -r {wanted}."
    return f"Install the package that has it, e.g. pip install {(name or '').partition('.')[0]}."
