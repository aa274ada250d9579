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


def where_it_is(source: object) -> list[str] | None:
    """How a worker loads this program's module: `["path", file]` or `["module", name]`; None: it has no file.

    source: the flow. Objects that workers make of the module's classes are found here from now on. Raises
    FlowError: the flow is of this module, and the module is a notebook or a prompt.
    """
    main = sys.modules["__main__"]
    sys.modules.setdefault(NAME, main)
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return ["module", spec.name]
    file = getattr(main, "__file__", None)
    if file is None and getattr(source, "__module__", None) == "__main__":
        raise FlowError(
            "A flow that is defined in a notebook or at a prompt cannot run in processes of its own.",
            hint="Write it into a file and import it, or leave isolate away.",
        )
    return None if file is None else ["path", file]


def load(main: list[str]) -> None:
    """Run it under its other name; on a worker's loop, so that flows it begins are refused. Raises FlowError."""
    how, what = main
    module = ModuleType(NAME)
    sys.modules[NAME] = sys.modules["__main__"] = module
    try:
        if how == "module":
            found = runpy.run_module(what, run_name=NAME, alter_sys=True)
        else:
            found = runpy.run_path(what, run_name=NAME)
    except (Exception, SystemExit) as error:  # border: the user's program
        raise FlowError(
            f"The program cannot be loaded in a process for its flow: {type(error).__name__} was raised.",
            hint='Put what it does below `if __name__ == "__main__":`, and what it defines above.',
        ) from error
    module.__dict__.update(found)
    # Both ways put the old module back.
    sys.modules[NAME] = sys.modules["__main__"] = module
