"""The `promptflow` that flows import: when it is there, what it has, what it says of what it has not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farthing.flows import shim
from farthing.flows.batch import metrics
from farthing.flows.code import marks, tool
from farthing.flows.connections import types as connection_types
from farthing.flows.prompts import images


@pytest.fixture(autouse=True)
def _none_before() -> Iterator[None]:
    shim.uninstall()
    yield
    shim.uninstall()


@pytest.mark.parametrize(
    ("module", "name", "thing"),
    [
        ("promptflow", "tool", tool.node),
        ("promptflow", "log_metric", metrics.log_metric),
        ("promptflow.core", "tool", tool.node),
        ("promptflow.core", "ToolProvider", tool.ToolProvider),
        ("promptflow._core.tool", "tool", tool.node),
        ("promptflow.connections", "OpenAIConnection", connection_types.OpenAIConnection),
        ("promptflow.entities", "CustomConnection", connection_types.CustomConnection),
        ("promptflow.contracts.multimedia", "Image", images.Image),
        ("promptflow.contracts.types", "Secret", marks.Secret),
    ],
)
def test_names_are_the_things_of_this_house(module: str, name: str, thing: object) -> None:
    with shim.active():
        assert getattr(importlib.import_module(module), name) is thing


def test_every_module_can_be_imported_and_has_what_it_says() -> None:
    home = Path(shim.__file__).parent
    files = sorted(home.joinpath("promptflow").rglob("*.py"))
    assert len(files) > 12
    with shim.active():
        assert importlib.import_module("promptflow.tools.common").render_jinja_template
        for file in files:
            parts = file.relative_to(home).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            module = importlib.import_module(name)
            for each in getattr(module, "__all__", ()):
                assert getattr(module, each) is not None


def test_it_is_there_only_in_the_block() -> None:
    with shim.active():
        importlib.import_module("promptflow.core")
        with shim.active():
            importlib.import_module("promptflow.tracing")
        importlib.import_module("promptflow.exceptions")
    assert not [name for name in sys.modules if name.partition(".")[0] == "promptflow"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("promptflow")


def test_installed_it_is_there_until_it_is_not() -> None:
    shim.install()
    shim.install()
    with shim.active():
        pass
    first = importlib.import_module("promptflow.core")
    with shim.active():
        assert importlib.import_module("promptflow.core") is first
    shim.uninstall()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("promptflow.core")


def test_a_really_installed_package_is_out_of_the_way_for_the_block_unless_it_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "promptflow"
    package.mkdir()
    package.joinpath("__init__.py").write_text("WHO = 'the real one'\n")
    package.joinpath("azure.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    real = importlib.import_module("promptflow")
    try:
        with shim.active():
            assert importlib.import_module("promptflow") is not real
        assert importlib.import_module("promptflow") is real
        shim.install()
        assert importlib.import_module("promptflow.azure") is not None
        with shim.active(prefers_installed=True):
            assert importlib.import_module("promptflow") is real
    finally:
        for name in ("promptflow", "promptflow.azure"):
            sys.modules.pop(name, None)


def test_a_module_that_is_not_here_is_an_import_error_that_says_what_there_is() -> None:
    with shim.active(), pytest.raises(ImportError, match="farthing pf run create"):
        importlib.import_module("promptflow.azure")
    with shim.active(), pytest.raises(ImportError, match=r"no module 'promptflow\.core\.secret'"):
        importlib.import_module("promptflow.core.secret")


def test_a_name_that_is_not_here_is_an_import_error_that_names_it() -> None:
    with shim.active():
        with pytest.raises(ImportError, match=r"no 'toool' in 'promptflow\.core'.*'tool'"):
            exec("from promptflow.core import toool")
        with pytest.raises(ImportError, match=r"no 'PFBytes'.*Use Image"):
            exec("from promptflow.contracts.multimedia import PFBytes")
        exec("from promptflow import core, tracing, contracts")
        exec("from promptflow.contracts import types")


def test_trace_leaves_functions_as_they_are() -> None:
    with shim.active():
        tracing = importlib.import_module("promptflow.tracing")

    def f() -> int:
        return 1

    assert tracing.trace(f) is f
    assert tracing.trace()(f) is f
    assert tracing.start_trace(collection="c") is None
    with tracing.ThreadPoolExecutorWithContext(1) as pool, metrics.collecting() as found:
        pool.submit(metrics.log_metric, "m", 1).result()
    assert found == {"m": 1}


def test_the_exceptions_of_users_are_a_family() -> None:
    with shim.active():
        module = importlib.import_module("promptflow.exceptions")
    error = module.UserErrorException("wrong", target=module.ErrorTarget.TOOL)
    assert isinstance(error, module.PromptflowException)
    assert (str(error), error.message, error.target) == ("wrong", "wrong", "Tool")
    assert str(module.ValidationException(message_format="{a}!", a=1)) == "1!"
