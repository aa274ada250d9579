"""Writes docs/reference/mistakes.md: every mistake of the tests' tables, made, and what was told."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cli import test_bad_input as commands
from tests.flows import test_mistakes as flows
from tests.mistakes import PAGE
from tests.server import test_bad_input as requests

HEAD = """# Mistakes and what you see

Each line was made by making the mistake: what somebody did, the HTTP status or exit code, and the whole
message. Every message says what happened, to what, and what to do next. Errors come in the form of the API that
was called. Written by `tools/generate_mistakes.py`; the tests compare it with what is told today.

| what you did | answer | what you see |
|---|---|---|
"""


def main() -> None:
    """Make every mistake and write the page."""
    os.environ["NO_PROXY"] = "*"  # what listens on this machine is asked directly
    for name in [name for name in os.environ if name.startswith("FARTHING_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        lines = asyncio.run(requests.lines(Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        lines += commands.lines(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        lines += asyncio.run(flows.lines(Path(folder)))
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{PAGE.relative_to(Path.cwd())}: {len(lines)} mistakes")


if __name__ == "__main__":
    main()
