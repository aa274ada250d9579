"""What a reader types in an example's folder, one command of each kind in the order of its README, and how each ends.

As a program, `python -m tests.compat.flows.sessions PROGRAM CHECKOUT`: types all of it, with PROGRAM (`original`, or
`farthing`) as `pf`, and prints a line of JSON for each folder: the exit code by line. Needs what cases.py needs.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from tests.compat.flows import cases
from tests.compat.flows.commands import commands
from tests.compat.flows.endpoint import Endpoint

#: Those that can be typed without a person, a browser, a network or a compiler.
_TYPED = re.compile(
    r"pf (flow (test|validate)|run (create|list|show|show-details|show-metrics)"
    r"|connection (create|show|list|update|delete))\b"
)
_NOT = re.compile(r" --(ui|interactive|debug)\b|azureml://")
#: Folders whose READMEs are followed.
FOLLOWED = (
    "examples/connections",
    "examples/flex-flows/basic",
    "examples/flows/chat/chat-basic",
    "examples/flows/evaluation/eval-basic",
    "examples/flows/evaluation/eval-classification-accuracy",
    "examples/flows/evaluation/eval-entity-match-rate",
    "examples/flows/standard/basic",
    "examples/flows/standard/basic-with-builtin-llm",
    "examples/flows/standard/basic-with-connection",
    "examples/flows/standard/conditional-flow-for-if-else",
    "examples/flows/standard/maths-to-code",
    "examples/flows/standard/web-classification",
    "examples/prompty/basic",
    "examples/prompty/format-output",
)
#: What `pf` is: a module to load first, since it takes long, a function to call, and the words before those typed.
PROGRAMS = {
    "original": ("promptflow._sdk._pf_client", "promptflow._cli.pf", ["pf"]),
    "farthing": ("farthing.cli.pf", "farthing.cli.main", ["farthing", "pf"]),
}
#: What a README's shell holds, and what its reader fills in. {url}: of the endpoint.
_SHELL = {"run_name": "first", "name": "first", "base_run_name": "first", "eval_run_name": "second"}
_FILLED = {
    "<your_api_key>": "key",
    "<your_api_base>": "{url}",
    "<your_new_key>": "new",
    "<your_another_key>": "other",
}


def sessions(checkout: Path) -> dict[str, list[str]]:
    """By folder: the first line of each kind of command, as typed."""
    found: dict[str, dict[str, str]] = {}
    for each in commands(checkout):
        folder = each.folder.relative_to(checkout).as_posix()
        kind = _TYPED.match(each.line)
        if folder in FOLLOWED and kind and not _NOT.search(each.line):
            found.setdefault(folder, {}).setdefault(kind[1], each.line)
    return {folder: list(lines.values()) for folder, lines in found.items()}


def typed(program: str, root: Path, folder: str, lines: list[str]) -> dict[str, int]:
    """Type the lines in a folder of the copy, in a home of its own; the exit code of each."""
    with tempfile.TemporaryDirectory() as home, Endpoint() as endpoint:
        (Path(home) / "kept_key.py").write_text(KEYRING)
        # It reports nothing: where nobody listens that takes it a minute.
        (Path(home) / "pf.yaml").write_text(
            "telemetry: {enabled: false}\ntrace: {destination: none}\n"
        )
        environment = {
            **os.environ,
            **cases.environment(endpoint.url),
            "HOME": home,
            "PF_HOME_DIRECTORY": home,
            "PF_DISABLE_TRACING": "true",
            "PF_BATCH_METHOD": "fork",
            "PF_WORKER_COUNT": "1",
            "PYTHON_KEYRING_BACKEND": "kept_key.Keyring",
            "PYTHONPATH": os.pathsep.join([home, os.environ.get("PYTHONPATH", "")]),
        }
        # As the READMEs say: made before it is named.
        names = [name for name in environment if name.startswith("AZURE_OPENAI_")]
        dotenv = "".join(f"{name}={environment[name]}\n" for name in names)
        (root / folder / ".env").write_text(dotenv)
        words = [[_filled(word, endpoint.url) for word in shlex.split(line)[1:]] for line in lines]
        done = subprocess.run(
            [sys.executable, "-m", "tests.compat.flows.sessions", program],
            cwd=root / folder,
            env=environment,
            input=json.dumps(words),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return dict(zip(lines, json.loads(done.stdout.splitlines()[-1]), strict=True))


def type_all(program: str) -> None:
    """The other process of `typed`: each line in a fork, so that what takes long is loaded once."""
    first, module, words = PROGRAMS[program]
    importlib.import_module(first)
    call = importlib.import_module(module).main
    codes = []
    for line in json.load(sys.stdin):
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)
            sys.argv = [*words, *line]
            code = 1
            try:
                call()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        sys.stderr.write(f"$ {line} = {codes[-1]}\n")
    print(json.dumps(codes))


def _filled(word: str, url: str) -> str:
    for blank, value in _FILLED.items():
        word = word.replace(blank, value.replace("{url}", url))
    # What stands for a reference of prompt flow is no variable of the shell.
    return re.sub(r"\$(\w+)", lambda found: _SHELL.get(found[1], found[0]), word)


#: A keyring for machines without one: the original encrypts its connections with a key from there.
KEYRING = """
from pathlib import Path
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 1
    file = Path(__file__).with_suffix(".key")

    def get_password(self, service, username):
        return self.file.read_text() if self.file.is_file() else None

    def set_password(self, service, username, password):
        self.file.write_text(password)

    def delete_password(self, service, username):
        self.file.unlink(missing_ok=True)
"""


def main() -> None:
    """See the module's docstring."""
    if len(sys.argv) == 2:
        type_all(sys.argv[1])
        return
    program, checkout = sys.argv[1], Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        root = cases.copied(checkout, Path(folder) / "checkout").resolve()
        for name, lines in sessions(checkout).items():
            told = {name: typed(program, root, name, lines)}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
