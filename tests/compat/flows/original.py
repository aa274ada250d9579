"""One flow, run by the original: what ours.py does with Farthing. Loaded in the original's environment alone."""

# The original is in an environment of its own, where no checker looks.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.compat.flows import cases, results
from tests.compat.flows.endpoint import Endpoint
from tests.compat.flows.sessions import KEYRING

#: Its own errors that it reports as if a flow's code had raised them.
_OWN_ERRORS = ("InvalidOutputKeyError", "LLMError", "UnknownConnectionType")


class Original:
    """One flow of a copy, run by the original."""

    def __init__(self, root: Path, name: str) -> None:
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
            os.environ.update(cases.environment(endpoint.url))
            endpoint.connections = _connections(endpoint.url)
            self.connections = DictConnectionProvider(endpoint.connections)
            # Processes that it starts itself have nothing but their environment.
            os.environ[HttpConnectionProvider.ENDPOINT_KEY] = endpoint.url
            self._include()
            self._store_connections(endpoint.connections)
            os.environ.update(self._variables())
            os.chdir(self.folder)
            made = {"single": self._single(self.case.file), "again": self._single(self.case.file)}
            made["batch"] = self._batch()
            for node, variant in self.case.variants:
                made[f"{node}.{variant}"] = self._single(self._varied(node, variant))
            if self.case.kind != "prompty":  # it validates none
                made["validate"] = _caught(self._validate, passed=False)
            made["serve"] = _caught(self._serve, error="refused")
        return made

    def _set_home(self) -> None:
        """A home for this flow alone."""
        home = Path(tempfile.mkdtemp(dir=os.environ["HOME"]))
        (home / "kept_key.py").write_text(KEYRING)
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
        for name in cases.AZURE[:2]:
            value = connections[name]["value"]
            client.connections.create_or_update(AzureOpenAIConnection(name=name, **value))

    def _include(self) -> None:
        """What the command line does before it runs a flow."""
        for each in self.case.includes:
            source = (self.folder / each).resolve()
            target = self.folder / source.name
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif source.exists() and not target.exists():
                shutil.copy(source, target)

    def _variables(self) -> dict[str, str]:
        """Those of the flow's file, which the command line sets; `${connection.key}` is taken from there."""
        made = {}
        for name, value in self.case.environment.items():
            connection, dot, key = value.removeprefix("${").removesuffix("}").partition(".")
            told = (
                self.endpoint.connections.get(connection)
                if value.startswith("${") and dot
                else None
            )
            made[name] = str(told["value"][key]) if told else value
        return made

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
        from promptflow._utils.dataclass_serializer import convert_eager_flow_output_to_dict
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
        failure, outputs = line.run_info.error, line.output
        if dataclasses.is_dataclass(outputs):  # the command shows its fields
            outputs = convert_eager_flow_output_to_dict(outputs)
        told = {
            "outputs": None if failure else results.seen(outputs, self.root, self.folder),
            "metrics": results.seen(line.run_info.metrics or {}, self.root, self.folder),
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
            outputs = results.seen(kept, self.root, output)
        told = {
            "outputs": sorted(outputs, key=lambda each: each.get("line_number", 0)),
            "metrics": results.seen(result.metrics, self.root, self.folder),
            "completed": result.completed_lines,
            "failed": result.failed_lines,
            "error": None,
        }
        if result.failed_lines:
            told["trace"] = json.dumps(result.error_summary.error_list, default=str)[:3000]
        return self._told(told)

    def _validate(self) -> dict[str, Any]:
        from promptflow._sdk._pf_client import PFClient

        told = PFClient().flows.validate(self.case.file)
        return {"passed": bool(told.passed), "trace": repr(told)[:1500]}

    def _serve(self) -> dict[str, Any]:
        from promptflow.core._serving.app import create_app

        os.environ["PROMPTFLOW_PROJECT_PATH"] = str(self.folder)
        app = create_app(
            flow_file_path=str(self.case.file),
            # As its environment says: asked for over HTTP.
            connection_provider=None,
            init=dict(self.case.init),
        )
        client = app.test_client()
        told: dict[str, Any] = {"health": client.get("/health").get_json()["status"]}
        told["swagger"] = results.seen(
            client.get("/swagger.json").get_json(), self.root, self.folder
        )
        self.endpoint.asked.clear()
        # As a client writes it: the test client's own way sorts the keys.
        asked = {"data": json.dumps(self.case.served), "content_type": "application/json"}
        reply = client.post("/score", **asked, headers={"accept": "application/json"})
        answer = reply.get_json() if reply.status_code == 200 else {"said": reply.get_data(True)}
        told["status"], told["answer"] = reply.status_code, answer
        if reply.status_code == 200:
            told["outputs"] = results.seen(answer, self.root, self.folder)
        told = self._told(told)
        streamed = client.post("/score", **asked, headers={"accept": "text/event-stream"})
        told["stream"] = results.seen(
            results.joined(streamed.get_data(True))
            if streamed.status_code == 200 and streamed.mimetype == "text/event-stream"
            else streamed.status_code,
            self.root,
            self.folder,
        )
        return told

    def _told(self, told: dict[str, Any]) -> dict[str, Any]:
        asked = list(self.endpoint.asked)
        return {
            **told,
            "requests": results.requests(asked, self.root),
            "asked": results.seen(asked, self.root, self.root),
        }


def _caught(work: Callable[[], dict[str, Any]], **failed: Any) -> dict[str, Any]:
    """What the work gives, or `failed` when it raises."""
    try:
        return work()
    except Exception:
        return {**failed, "trace": traceback.format_exc()[-1500:]}


def _connections(url: str) -> dict[str, Any]:
    """By name, as they are written for its processes."""
    module = "promptflow.connections"
    value = {"api_key": "key", "api_base": url, "api_type": "azure", "api_version": "2024-02-01"}
    made: dict[str, Any] = {
        name: {"name": name, "type": "AzureOpenAIConnection", "module": module, "value": value}
        for name in cases.AZURE
    }
    for name, (configs, secrets) in cases.CUSTOM.items():
        values = {**cases.values_of(configs, url), **secrets}
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


def _error_of(error: BaseException) -> str:
    """The class of what the user's code raised, else where it was refused."""
    from promptflow._core._errors import ToolExecutionError

    if isinstance(error, ToolExecutionError) and error.inner_exception is not None:
        return type(error.inner_exception).__name__
    return "refused"


def _class_of(error: dict[str, Any]) -> str:
    for each in error.get("additionalInfo") or []:
        if each.get("type") in ("ToolExecutionErrorDetails", "FlexFlowExecutionErrorDetails"):
            name = str(each["info"]["type"])
            return "refused" if name in _OWN_ERRORS else name
    return "refused"
