"""Records what the original prompt flow makes of its own flows, as digests, for tests/compat/flows.

    python tools/record_promptflow.py CHECKOUT [--only NAME]… [--raw FOLDER] [--python PYTHON]
    python tools/record_promptflow.py CHECKOUT --sessions [--python PYTHON]
    python tools/record_promptflow.py CHECKOUT --packages FOLDER

CHECKOUT: of microsoft/promptflow. The original is installed into an environment of its own, in a temporary
folder, unless --python names an interpreter that has it. Nothing outside loopback is asked by the flows.
--sessions: records how the commands of the examples' READMEs end instead. --packages: installs what the
examples import into a folder, for FARTHING_TEST_PROMPTFLOW_PACKAGES, and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
EXPECTED = ROOT / "tests/compat/flows/expected.json"
SESSIONS = EXPECTED.with_name("sessions.json")
ORIGINAL = ("promptflow==1.18.5", "promptflow-tools==1.6.1")
#: What the examples import, with what these need; the examples with langchain were written for its first versions.
PACKAGES = (
    "beautifulsoup4==4.15.0",
    "dataclasses-json==0.6.7",
    "distro==1.9.0",
    "faiss-cpu==1.15.1",
    "jsonpatch==1.48",
    "jsonpointer==3.12",
    "langchain==0.1.20",
    "langchain-community==0.0.38",
    "langchain-core==0.1.53",
    "langchain-text-splitters==0.0.2",
    "langsmith==0.1.147",
    "marshmallow==3.26.2",
    "mypy_extensions==1.2.0",
    "numpy==1.26.4",
    "openai==1.109.1",
    "orjson==3.13.0",
    "packaging==26.4",
    "pandas==2.3.3",
    "pillow==12.3.0",
    "promptflow-azure-ai-language==0.1.15",
    "PyPDF2==3.0.1",
    "python-dateutil==2.9.0.post0",
    "python-dotenv==1.2.4",
    "pytz==2026.6",
    "requests-toolbelt==1.0.0",
    "six==1.17.0",
    "soupsieve==4.1.3",
    "SQLAlchemy==2.1.9",
    "tenacity==8.5.0",
    "typing-inspect==0.9.0",
    "tzdata==2026.6",
    "unifyai==0.8.6",
)
#: For the original alone. Later file locks refuse what its batches do.
BESIDE = ("pyyaml", "tiktoken", "rich", "filelock<3.15")
#: Flows that run at once; the original waits most of the time.
AT_ONCE = 6
#: Seconds that all flows may take, and one of them.
LIMIT_S = 7200
FLOW_S = 240


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--only", action="append", default=[], help="a part of flows' names")
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--sessions", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.one:
        _in_child(told.checkout, told.one[0], Path(told.one[1]))
    if told.inside:
        _record(told.checkout.resolve(), told.only, told.raw)
        return
    if told.packages:
        _install(sys.executable, told.checkout, "--no-deps", "--target", str(told.packages))
        return
    with tempfile.TemporaryDirectory() as folder:
        python = told.python or _installed(Path(folder), told.checkout)
        command = [python, __file__, str(told.checkout), "--inside"]
        command += [word for name in told.only for word in ("--only", name)]
        if told.raw:
            command += ["--raw", str(told.raw)]
        # Its own home: the original keeps a database and a service there.
        environment = {
            **os.environ,
            "HOME": folder,
            "PF_HOME_DIRECTORY": folder,
            "PYTHONPATH": str(ROOT),
            "TIKTOKEN_CACHE_DIR": _ranks(),
            "PF_BATCH_METHOD": "fork",
            "PF_WORKER_COUNT": "1",
            "PF_DISABLE_TRACING": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if told.sessions:
            _record_sessions(python, told.checkout, environment)
            return
        subprocess.run(command, env=environment, check=True, timeout=LIMIT_S)


def _record_sessions(python: str, checkout: Path, environment: dict[str, str]) -> None:
    command = [python, "-m", "tests.compat.flows.sessions", "original", str(checkout.resolve())]
    done = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S
    )
    told: dict[str, dict[str, int]] = {}
    for line in done.stdout.splitlines():
        told.update(json.loads(line))
    SESSIONS.write_text(json.dumps(told, indent=1) + "\n")


def _ranks() -> str:
    """A folder of tokenisers' files, which are fetched otherwise."""
    from tests.compat.flows.cases import ranks

    return ranks()


def _installed(folder: Path, checkout: Path) -> str:
    """The interpreter of a new environment with the original."""
    subprocess.run([sys.executable, "-m", "venv", folder / "original"], check=True)
    python = str(folder / "original/bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *ORIGINAL, *BESIDE], check=True)
    _install(python, checkout)
    return python


def _install(python: str, checkout: Path, *options: str) -> None:
    """Install what the examples import, the tools of one of them included."""
    tools = checkout / "examples/tools/tool-package-quickstart"
    with tempfile.TemporaryDirectory() as folder:
        # A build writes into its source.
        copy = shutil.copytree(tools, Path(folder) / "tools") if tools.is_dir() else None
        more = [str(copy)] if copy else []
        command = [python, "-m", "pip", "install", "--quiet", *options, *PACKAGES, *more]
        subprocess.run(command, check=True)


# --- inside the original's environment ---


def _record(checkout: Path, only: list[str], raw: Path | None) -> None:
    # The forks below have these then.
    import promptflow._sdk._pf_client
    import promptflow.core._serving.app
    import promptflow.executor.flow_executor  # noqa: F401

    from tests.compat.flows import cases, results

    recorded = json.loads(EXPECTED.read_text()) if EXPECTED.is_file() else {}
    known = cases.names(checkout)
    flows = {name: told for name, told in recorded.get("flows", {}).items() if name in known}
    with tempfile.TemporaryDirectory() as folder:
        root = cases.copied(checkout, Path(folder) / "checkout").resolve()
        wanted = [each for each in known if not only or any(part in each for part in only)]
        for name, told in _forked(root, wanted, Path(folder)):
            print(name, json.dumps(told, default=str)[:160], flush=True)
            if raw:
                raw.mkdir(parents=True, exist_ok=True)
                (raw / f"{name.replace('/', '+')}.json").write_text(json.dumps(told, indent=1))
            flows[name] = results.digests(told)
    text = json.dumps({"original": ORIGINAL, "flows": flows}, indent=1, sort_keys=True)
    EXPECTED.write_text(text + "\n")


def _forked(root: Path, wanted: list[str], folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each flow in a process of its own: its modules and variables are nobody else's."""
    from tests.compat.flows.endpoint import digest

    waiting = list(reversed(wanted))
    running: dict[int, tuple[str, Path]] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            name = waiting.pop()
            answer = folder / f"{digest(name)}.json"
            child = os.fork()
            if child == 0:
                os.setsid()
                if ".dag.yaml" in name:
                    _in_child(root, name, answer)
                # The original finds its home, in which prompties look for connections, when it is loaded.
                os.execv(
                    sys.executable,
                    [sys.executable, __file__, str(root), "--one", name, str(answer)],
                )
            running[child] = (name, answer)
        child, _ = os.wait()
        # The pool of a batch outlives it.
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        name, answer = running.pop(child)
        yield name, json.loads(answer.read_text()) if answer.is_file() else {"load": "died"}


def _in_child(root: Path, name: str, answer: Path) -> None:
    from tests.compat.flows.original import Original

    signal.alarm(FLOW_S)
    code = 1
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            if not os.environ.get("RECORD_NOISE"):
                os.dup2(nowhere.fileno(), 2)
        answer.write_text(json.dumps(Original(root, name).results()))
        code = 0
    except BaseException as error:
        told = {"load": type(error).__name__, "trace": traceback.format_exc()[-1500:]}
        answer.write_text(json.dumps(told))
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
