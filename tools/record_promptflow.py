"""Records what the original prompt flow makes of its own examples, as digests, for tests/compat/flows.

    python tools/record_promptflow.py CHECKOUT [--only NAME] [--raw FOLDER] [--python PYTHON]

CHECKOUT: of microsoft/promptflow. The original is installed into an environment of its own, in a temporary
folder, unless --python names an interpreter that has it. Nothing outside loopback is asked by the flows.
"""

# The original is in an environment of its own, where no checker looks.
# mypy: disable-error-code="import-not-found"

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
EXPECTED = ROOT / "tests/compat/flows/expected.json"
#: The original, and what its examples import.
PACKAGES = (
    "promptflow==1.18.5",
    "promptflow-tools==1.6.1",
    "beautifulsoup4",
    "python-dotenv",
    "numpy",
    "pyyaml",
    "tenacity",
    "tiktoken",
    # Later ones refuse what its batches do.
    "filelock<3.15",
)
#: Flows that run at once; the original waits most of the time.
AT_ONCE = 6
#: Seconds that all examples may take.
LIMIT_S = 1800


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--python")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.one:
        _in_child(told.checkout, told.one[0], Path(told.one[1]))
    if told.inside:
        _record(told.checkout.resolve(), told.only, told.raw)
        return
    with tempfile.TemporaryDirectory() as folder:
        python = told.python or _installed(Path(folder), told.checkout)
        command = [python, __file__, str(told.checkout), "--inside", "--only", told.only]
        if told.raw:
            command += ["--raw", str(told.raw)]
        # Its own home: the original keeps a database and a service there.
        environment = {
            **os.environ,
            "HOME": folder,
            "PF_HOME_DIRECTORY": folder,
            "PYTHONPATH": str(ROOT),
            "PF_BATCH_METHOD": "fork",
            "PF_WORKER_COUNT": "1",
            "PF_DISABLE_TRACING": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        subprocess.run(command, env=environment, check=True, timeout=LIMIT_S)


def _installed(folder: Path, checkout: Path) -> str:
    """The interpreter of a new environment with the original."""
    subprocess.run([sys.executable, "-m", "venv", folder / "original"], check=True)
    python = str(folder / "original/bin/python")
    tools = checkout / "examples/tools/tool-package-quickstart"
    more = [str(tools)] if tools.is_dir() else []
    command = [python, "-m", "pip", "install", "--quiet", *PACKAGES, *more]
    subprocess.run(command, check=True)
    return python


# --- inside the original's environment ---


def _record(checkout: Path, only: str, raw: Path | None) -> None:
    # The forks below have it then.
    import promptflow.executor.flow_executor  # noqa: F401

    from tests.compat.flows import cases

    recorded = json.loads(EXPECTED.read_text()) if EXPECTED.is_file() else {}
    known = cases.names(checkout / "examples")
    flows = {name: told for name, told in recorded.get("flows", {}).items() if name in known}
    with tempfile.TemporaryDirectory() as folder:
        root = cases.copied(checkout / "examples", Path(folder) / "examples").resolve()
        wanted = [name for name in known if only in name]
        for name, told in _forked(root, wanted, Path(folder)):
            print(name, json.dumps(told, default=str)[:160], flush=True)
            if raw:
                raw.mkdir(parents=True, exist_ok=True)
                (raw / f"{name.replace('/', '+')}.json").write_text(json.dumps(told, indent=1))
            flows[name] = cases.digests(told)
    text = json.dumps({"original": list(PACKAGES[:2]), "flows": flows}, indent=1, sort_keys=True)
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
                if name.endswith(".dag.yaml"):
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
    code = 1
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            if not os.environ.get("RECORD_NOISE"):
                os.dup2(nowhere.fileno(), 2)
        answer.write_text(json.dumps(_Original(root, name).results()))
        code = 0
    except BaseException as error:
        told = {"load": type(error).__name__, "trace": traceback.format_exc()[-1500:]}
        answer.write_text(json.dumps(told))
    finally:
        os._exit(code)


#: A keyring for machines without one: the original encrypts its connections with a key from there.
_KEYRING = """
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


class _Original:
    """One flow, run by the original."""

    def __init__(self, root: Path, name: str) -> None:
        from tests.compat.flows import cases
        from tests.compat.flows.endpoint import Endpoint

        self.cases = cases
        self.root = root
        self.case = cases.case(root, name)
        self.folder = self.case.file.parent
        self.endpoint = Endpoint()

    def results(self) -> dict[str, Any]:
        """By what was asked: outputs, metrics, error and requests."""
        self._set_home()
        from promptflow.core._connection_provider._dict_connection_provider import (
            DictConnectionProvider,
        )
        from promptflow.core._connection_provider._http_connection_provider import (
            HttpConnectionProvider,
        )

        with self.endpoint as endpoint:
            os.environ.update(self.cases.values_of(self.cases.ENVIRONMENT, endpoint.url))
            endpoint.connections = self._connections(endpoint.url)
            self.connections = DictConnectionProvider(endpoint.connections)
            # Processes that it starts itself have nothing but their environment.
            os.environ[HttpConnectionProvider.ENDPOINT_KEY] = endpoint.url
            self._include()
            self._store_connections(endpoint.connections)
            os.chdir(self.folder)
            made = {"single": self._single(self.case.file), "again": self._single(self.case.file)}
            made["batch"] = self._batch()
            for node, variant in self.case.variants:
                made[f"{node}.{variant}"] = self._single(self._varied(node, variant))
        return made

    def _connections(self, url: str) -> dict[str, Any]:
        module = "promptflow.connections"
        value = {
            "api_key": "key",
            "api_base": url,
            "api_type": "azure",
            "api_version": "2024-02-01",
        }
        made = {
            name: {"name": name, "type": "AzureOpenAIConnection", "module": module, "value": value}
            for name in self.cases.AZURE
        }
        for name, (configs, secrets) in self.cases.CUSTOM.items():
            values = {**self.cases.values_of(configs, url), **secrets}
            if name == "my_custom_connection":
                package = "my_tool_package.tools.tool_with_custom_strong_type_connection"
                values["promptflow.connection.custom_type"] = "MyCustomConnection"
                values["promptflow.connection.module"] = package
            made[name] = {
                "name": name,
                "type": "CustomConnection",
                "module": module,
                "value": values,
                "secret_keys": list(secrets),
            }
        return made

    def _set_home(self) -> None:
        """A home for this flow alone."""
        home = Path(tempfile.mkdtemp(dir=os.environ["HOME"]))
        (home / "kept_key.py").write_text(_KEYRING)
        sys.path.insert(0, str(home))
        os.environ["PYTHONPATH"] = f"{home}:{os.environ['PYTHONPATH']}"
        os.environ["PYTHON_KEYRING_BACKEND"] = "kept_key.Keyring"
        os.environ["PF_HOME_DIRECTORY"] = str(home)

    def _store_connections(self, connections: dict[str, Any]) -> None:
        """Prompties look for them in the home and nowhere else."""
        if self.case.kind == "dag":
            return
        from promptflow._sdk._pf_client import PFClient
        from promptflow._sdk.entities import AzureOpenAIConnection

        client = PFClient()
        for name in self.cases.AZURE[:1]:
            value = connections[name]["value"]
            client.connections.create_or_update(AzureOpenAIConnection(name=name, **value))

    def _include(self) -> None:
        """What the command line does before it runs a flow."""
        for each in self.case.includes:
            source = (self.folder / each).resolve()
            target = self.folder / source.name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif not target.exists():
                shutil.copy(source, target)

    def _varied(self, node: str, variant: str) -> Path:
        """The flow's file with another default."""
        from ruamel.yaml import YAML

        yaml = YAML()
        document = yaml.load(self.case.file.read_text(encoding="utf-8-sig"))
        document["node_variants"][node]["default_variant_id"] = variant
        file = self.folder / "varied.dag.yaml"
        yaml.dump(document, file)
        return file

    def _single(self, file: Path) -> dict[str, Any]:
        from promptflow.executor.flow_executor import execute_flow

        self.endpoint.asked.clear()
        output = Path("_outputs")
        try:
            line = execute_flow(
                file,
                self.folder,
                output,
                self.connections,
                {**self._defaults(file), **self.case.single},
                init_kwargs=dict(self.case.init) or None,
            )
        except Exception as error:
            return self._told({"error": _error_of(error), "trace": traceback.format_exc()[-1500:]})
        failure = line.run_info.error
        told = {
            "outputs": None if failure else self.cases.seen(line.output, self.root, self.folder),
            "metrics": self.cases.seen(line.run_info.metrics or {}, self.root, self.folder),
            "error": _class_of(failure) if failure else None,
        }
        if failure:
            told["trace"] = json.dumps(failure, default=str)[:3000]
        return self._told(told)

    def _defaults(self, file: Path) -> dict[str, Any]:
        """Of a graph, so that its aggregation sees the inputs that nobody gave; the command does it as well."""
        if self.case.kind != "dag":
            return {}
        from promptflow.contracts.flow import Flow

        inputs = Flow.from_yaml(file, working_dir=self.folder).inputs
        return {name: each.default for name, each in inputs.items() if each.default is not None}

    def _batch(self) -> dict[str, Any]:
        from promptflow.batch import BatchEngine

        self.endpoint.asked.clear()
        with tempfile.TemporaryDirectory() as folder:
            data, output = Path(folder) / "data.jsonl", Path(folder) / "out"
            data.write_text("".join(f"{json.dumps(row)}\n" for row in self.case.rows))
            output.mkdir()
            try:
                engine = BatchEngine(
                    self.case.file,
                    self.folder,
                    connections=self.connections,
                    init_kwargs=dict(self.case.init) or None,
                )
                result = engine.run({"data": str(data)}, self.case.mapping, output)
            except Exception as error:
                trace = traceback.format_exc()[-1500:]
                return self._told({"error": _error_of(error), "trace": trace})
            kept = [json.loads(line) for line in (output / "output.jsonl").read_text().splitlines()]
            outputs = self.cases.seen(kept, self.root, output)
        told = {
            "outputs": sorted(outputs, key=lambda each: each.get("line_number", 0)),
            "metrics": self.cases.seen(result.metrics, self.root, self.folder),
            "completed": result.completed_lines,
            "failed": result.failed_lines,
            "error": None,
        }
        if result.failed_lines:
            told["trace"] = json.dumps(result.error_summary.error_list, default=str)[:3000]
        return self._told(told)

    def _told(self, told: dict[str, Any]) -> dict[str, Any]:
        asked = self.endpoint.asked
        return {
            **told,
            "requests": self.cases.requests(asked, self.root),
            "asked": self.cases.seen(list(asked), self.root, self.root),
        }


def _error_of(error: BaseException) -> str:
    """The class of what the user's code raised, else where it was refused."""
    from promptflow._core._errors import ToolExecutionError

    if isinstance(error, ToolExecutionError) and error.inner_exception is not None:
        return type(error.inner_exception).__name__
    return "refused"


#: Its own errors that it reports as if a flow's code had raised them.
_OWN_ERRORS = ("InvalidOutputKeyError", "LLMError", "UnknownConnectionType")


def _class_of(error: dict[str, Any]) -> str:
    for each in error.get("additionalInfo") or []:
        if each.get("type") in ("ToolExecutionErrorDetails", "FlexFlowExecutionErrorDetails"):
            name = str(each["info"]["type"])
            return "refused" if name in _OWN_ERRORS else name
    return "refused"


if __name__ == "__main__":
    main()
