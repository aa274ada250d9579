"""The program's own module in its workers: a flow that a script defines is found there by its name.

As for the standard library's processes the script is run again under another name, so what stands below
`if __name__ == "__main__":` is not.
"""

from __future__ import annotations

import runpy
import sys
from types import ModuleType

from farthing.core.errors import FlowError

#: Its name in workers; the standard library's, so that pickles of both find it.
NAME = "__mp_main__"


def where_it_is() -> list[str]:
    """How a worker loads this program's module: `["path", file]` or `["module", name]`.

    Objects that workers make of its classes are found here from now on. Raises FlowError: a notebook or
    a prompt, which has no file.
    """
    main = sys.modules["__main__"]
    sys.modules.setdefault(NAME, main)
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return ["module", spec.name]
    file = getattr(main, "__file__", None)
    if file is None:
        raise FlowError(
            "A flow that is defined in a notebook or at a prompt cannot run in processes of its own.",
            hint="Write it into a file and import it, or leave isolate away.",
        )
    return ["path", file]


def load(main: list[str]) -> None:
    """Run it under its other name; in a worker. What it raises is raised."""
    how, what = main
    module = ModuleType(NAME)
    sys.modules[NAME] = sys.modules["__main__"] = module
    if how == "module":
        found = runpy.run_module(what, run_name=NAME, alter_sys=True)
    else:
        found = runpy.run_path(what, run_name=NAME)
    module.__dict__.update(found)
    # Both ways put the old module back.
    sys.modules[NAME] = sys.modules["__main__"] = module


def refuse_in_workers() -> None:
    """Raises FlowError in a process that has a program's module under its other name."""
    if getattr(sys.modules.get(NAME), "__name__", None) == NAME:
        raise FlowError(
            "A worker of a flow has come to a line of the program that starts workers.",
            hint='Put what the program does below `if __name__ == "__main__":`; its workers load it too.',
        )
