"""Records what prompt flow's package tools ask services and make of the answers, for tests/flows.

    python tools/record_package_tools.py [--python PYTHON]

The original is installed into an environment of its own, in a temporary folder, unless --python names an interpreter
that has it. It talks to a server on loopback; the waits between its tries are written down and not waited for.
"""

# The original is in an environment of its own, where no checker looks.
# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import argparse
import base64
import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = ROOT / "tests/flows/package_tools.json"
PACKAGES = ("promptflow==1.18.5", "promptflow-tools==1.6.1", "rank_bm25==0.2.2", "setuptools<80")
#: Without what it needs: of this package only the rankers are run.
ALONE = "promptflow-vectordb==0.2.17"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.inside:
        _record()
        return
    with tempfile.TemporaryDirectory() as folder:
        python = told.python or _installed(Path(folder))
        environment = {**os.environ, "HOME": folder, "PF_HOME_DIRECTORY": folder}
        environment |= {"PYTHONPATH": str(ROOT), "PF_DISABLE_TRACING": "true"}
        subprocess.run([python, __file__, "--inside"], env=environment, check=True, timeout=900)


def _installed(folder: Path) -> str:
    """The interpreter of a new environment with the original."""
    subprocess.run([sys.executable, "-m", "venv", folder / "original"], check=True)
    python = str(folder / "original/bin/python")
    install = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *PACKAGES], check=True)
    subprocess.run([*install, "--no-deps", ALONE], check=True)
    return python


# --- inside the original's environment ---


def _record() -> None:
    from promptflow.tools import open_model_llm

    from tests.flows.tool_cases import CASES, Recorder, title

    waits: list[float] = []
    open_model_llm.time = types.SimpleNamespace(sleep=waits.append)
    recorded = {}
    with Recorder() as server:
        for case in CASES:
            server.asked.clear()
            waits.clear()
            server.status, server.answer = case.status, case.answer
            with (
                Path(os.devnull).open("w") as nowhere,
                redirect_stdout(nowhere),
                redirect_stderr(nowhere),
            ):
                told = _outcome(case, server.url)
            told |= {"asked": list(server.asked), "waits": list(waits)}
            recorded[title(case)] = told
            print(title(case), json.dumps(told, default=str)[:150], flush=True)
    whole = {"original": [*PACKAGES[:3], ALONE], "cases": recorded}
    text = json.dumps(whole, indent=1, sort_keys=True, default=float)
    EXPECTED.write_text(text + "\n")


def _outcome(case: Any, url: str) -> dict[str, Any]:
    try:
        return {"output": _TOOLS[case.tool](case, url), "error": None}
    except Exception as error:
        return {"output": None, "error": type(error).__name__}


def _connection(name: str, url: str) -> Any:
    from tests.flows.tool_cases import fields

    kind, configs, secrets = fields(name, url)
    made = getattr(importlib.import_module("promptflow.connections"), kind)
    if kind == "CustomConnection":
        return made(secrets=secrets, configs=configs)
    return made(**configs, **secrets)


def _serpapi(case: Any, url: str) -> Any:
    from promptflow.tools.serpapi import SerpAPI
    from serpapi.serp_api_client import SerpApiClient

    SerpApiClient.BACKEND = url
    return SerpAPI(_connection(case.connection, url)).search(**case.values)


def _safety(case: Any, url: str) -> Any:
    from promptflow.tools.azure_content_safety import analyze_text

    return analyze_text(_connection(case.connection, url), **case.values)


def _open_model(case: Any, url: str) -> Any:
    from promptflow.tools import open_model_llm

    # The store of connections is passed by; all else of the way from a connection to its endpoint is run.
    container = open_model_llm.CUSTOM_CONNECTION_CONTAINER
    container.get_endpoint_from_local_custom_connection = lambda name: (
        container.get_endpoint_from_custom_connection(_connection(name, url))
    )
    values = dict(case.values)
    values["api"] = open_model_llm.API(values["api"])
    # A call leaves traces in the default of the next.
    values.setdefault("model_kwargs", {})
    return open_model_llm.OpenModelLLM().call(
        endpoint_name=f"localConnection/{case.connection}", **values
    )


def _rerank(case: Any, url: str) -> Any:
    _without_editor()
    rankers = importlib.import_module("promptflow_vectordb.tool.rerank_utils.rankers")
    values = json.loads(json.dumps(case.values))  # it writes into the results
    groups = values["result_groups"]
    groups = groups if isinstance(groups[0], list) else [groups]
    told = values["ranker_parameters"]
    parameters = {} if told == "{model}" else json.loads(told)
    asked = {"query": values["query"], "result_groups": groups, "top_k": values["top_k"]}
    kind = parameters.get("ranker_type")
    if kind == "BM25":
        return rankers.bm25_rerank(**asked)
    if kind == "Scaled Score Fusion":
        constant = parameters.get("ssf_rank_constant")
        more = {"ssf_rank_constant": constant} if constant else {}
        return rankers.ssf_rerank(**asked, **more)
    base = f"{url}/".rstrip("/") + "/v1/rerank"
    key = _connection(case.connection, url).api_key
    return rankers.serverless_rerank(**asked, api_base=base, api_key=key)


def _without_editor() -> None:
    """A stand-in for what the rankers log by; the rest of that folder wants Azure's own packages."""
    name = "promptflow_vectordb.tool.common_index_lookup_utils"
    logger, constants = types.ModuleType(f"{name}.logger"), types.ModuleType(f"{name}.constants")
    logger.get_lookup_logger = logging.getLogger  # type: ignore[attr-defined]
    constants.LoggerNames = types.SimpleNamespace(PromptflowTool="tool")  # type: ignore[attr-defined]
    for each in (types.ModuleType(name), logger, constants):
        sys.modules.setdefault(each.__name__, each)


def _model(module: str, function: str, provider: str | None = None) -> Callable[[Any, str], Any]:
    def call(case: Any, url: str) -> Any:
        from promptflow.contracts.multimedia import Image

        tools = importlib.import_module(f"promptflow.tools.{module}")
        connection = _connection(case.connection, url)
        values = dict(case.values)
        if "picture" in values:
            values["picture"] = Image(base64.b64decode(values["picture"]), "image/png")
        if provider:
            return getattr(getattr(tools, provider)(connection), function)(**values)
        return getattr(tools, function)(connection, **values)

    return call


_TOOLS: dict[str, Callable[[Any, str], Any]] = {
    "serpapi": _serpapi,
    "safety": _safety,
    "open_model": _open_model,
    "rerank": _rerank,
    "embedding": _model("embedding", "embedding"),
    "llm": _model("llm", "llm"),
    "llm_vision": _model("llm_vision", "llm_vision"),
    "aoai_gpt4v": _model("aoai_gpt4v", "chat", "AzureOpenAI"),
    "openai_gpt4v": _model("openai_gpt4v", "chat", "OpenAI"),
}


if __name__ == "__main__":
    main()
