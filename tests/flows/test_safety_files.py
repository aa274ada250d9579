"""Whoever asks a served flow reads no file with it: not by an image's path, in any form or depth, nor by other means.

Each is asked of a real socket. Beside the flow's folder lies a file with a secret, and a link to it in the folder.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from farthing.core.errors import FlowInputError
from farthing.flows.batch.mapping import DATA, ColumnMapping
from farthing.flows.graph import Input
from farthing.flows.serving.inputs import refuse_files
from farthing.gateway.client import open_gateway
from farthing.server.flowserver import flow_app
from farthing.server.listener import listen
from farthing.server.serve import serving
from tests.flows.served import lay, settings_of

SECRET = "the-secret-of-another-folder"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

#: Gives back all that it is given, the bytes of images included.
ECHO = {
    "flow.dag.yaml": """
message_format: FORMAT
inputs:
  text: {type: string, default: ""}
  image: {type: image, default: {"data:image/png;path": own.png}}
  some: {type: list, default: []}
  thing: {type: object, default: {}}
  number: {type: int, default: 1}
outputs:
  all: {type: object, reference: "${echo.output}"}
nodes:
- name: echo
  type: python
  source: {type: code, path: echo.py}
  inputs: {text: "${inputs.text}", image: "${inputs.image}", some: "${inputs.some}", thing: "${inputs.thing}"}
""",
    "echo.py": """
from farthing.flows.code.tool import node

def shown(value):
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {key: shown(each) for key, each in value.items()}
    return [shown(each) for each in value] if isinstance(value, list) else value

@node
def echo(text: str, image: object, some: list, thing: object) -> dict:
    return shown({"text": text, "image": image, "some": some, "thing": thing})
""",
}
PROMPTY = {
    "ask.prompty": """---
name: ask
model:
  api: chat
  configuration: {type: azure_openai, azure_deployment: sim/quick}
  parameters: {max_tokens: 4}
inputs:
  q: {type: string, default: ""}
  thing: {type: object, default: {}}
---
user:
![image]({{ q }})
{{ thing }}
"""
}
FLEX = {
    "flow.flex.yaml": "entry: asked:answer\n",
    "asked.py": 'def answer(q: str = "", **more) -> dict:\n    return {"q": q, "more": more}\n',
}


@asynccontextmanager
async def served(tmp_path: Path, files: dict[str, str], **put: str) -> AsyncIterator[Any]:
    """A function that posts inputs and gives the status and the text of the answer."""
    folder = lay(tmp_path / "flow", files, **put)
    (folder / "own.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_text(SECRET)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    settings = settings_of(tmp_path)
    with listen(settings.server) as listener:
        async with (
            open_gateway(settings, environ={}) as gateway,
            flow_app(folder, listener, gateway=gateway) as app,
            serving(gateway, listener, app=app) as running,
            aiohttp.ClientSession(running.url) as client,
        ):

            async def post(body: Any) -> tuple[int, str]:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                async with client.post("/score", data=BytesIO(data)) as reply:
                    return reply.status, await reply.text()

            yield post


def paths(tmp_path: Path) -> list[str]:
    """Ways to say where the secret is, and files that every machine has."""
    secret = str(tmp_path / "secret.png")
    return [
        secret, "../secret.png", "link.png", "own.png", "./link.png", "flow/../../secret.png", f"//{secret}",
        f" {secret}", f"{secret}\n", f"file://{secret}", f"file://localhost{secret}", f"FILE:{secret}",
        f"http://{secret}", f"https:{secret}", f"data:/../..{secret}", f"data:image/png/../..{secret}",
        "..\\secret.png", "%2e%2e/secret.png", "~/secret.png", "/proc/self/environ", "/dev/zero", "\x00",
    ]  # fmt: skip


def forms(path: str) -> list[Any]:
    """The forms in which flows and prompties know images by their paths."""
    return [
        {"data:image/png;path": path},
        {"data:image/*;path": path},
        {"data:image/;path": path},
        {"type": "image_file", "image_file": {"path": path}},
        {"type": "image_url", "image_url": {"url": path}},
        f"data:image/png;path:{path}",
        f"data:image/png;path,{path}",
        f"data:image/png;path: {path}",
    ]


@pytest.mark.parametrize("message_format", ["basic", "openai-vision"])
async def test_no_image_by_its_path_is_read_in_a_graph(message_format: str, tmp_path: Path) -> None:
    asked = 0
    async with served(tmp_path, ECHO, FORMAT=message_format) as post:
        status, text = await post({"text": "x"})
        assert (status, "PNG" in text) == (200, True)  # its own default is read
        for path in paths(tmp_path):
            for form in [path, *forms(path)]:
                # Each form of each path in five of the places, in turns.
                for inputs in islice(cycle(places(form)), asked % 12, asked % 12 + 5):
                    status, text = await post(inputs)
                    asked += 1
                    assert SECRET not in text, inputs
                    assert "PATH=" not in text, inputs
                    # Only what is no image in any form is an input like others.
                    if status == 200:
                        assert json.dumps(path)[1:-1].strip()[:20] in text or "undeclared" in inputs
                    else:
                        assert status == 400, (inputs, status, text)
    assert asked > 900


def places(form: Any) -> list[dict[str, Any]]:
    """Inputs with it wherever a caller can put it."""
    return [
        {"image": form},
        {"image": [form]},
        {"image": [[form]]},
        {"some": [form]},
        {"some": [{"deep": [{"er": form}]}]},
        {"some": json.dumps([form])},
        {"thing": form},
        {"thing": {"a": form}},
        {"thing": json.dumps({"a": form})},
        {"text": form},
        {"number": form},
        {"undeclared": form},
    ]


@pytest.mark.parametrize("form", range(9))
def test_each_place_is_looked_at(form: int) -> None:
    declared = [Input(name="image", kind="image"), Input(name="some", kind="list")]
    for inputs in places(["../x.png", *forms("../x.png")][form]):
        (value,) = inputs.values()
        is_text = form == 0 and "image" not in inputs
        if is_text or (isinstance(value, str) and value[0] in "[{"):
            continue  # a text like others; JSON in a text is looked at when it has been read
        with pytest.raises(FlowInputError):
            refuse_files(declared, inputs)


async def test_no_image_by_its_path_is_read_in_a_prompty(tmp_path: Path) -> None:
    async with served(tmp_path, PROMPTY) as post:
        for path in paths(tmp_path):
            for form in forms(path)[:3] + forms(path)[5:]:
                for inputs in (
                    {"q": form},
                    {"q": [form]},
                    {"q": {"a": form}},
                    {"thing": form},
                    {"thing": {"a": [form]}},
                    {"thing": json.dumps(form)},
                    {"undeclared": form},
                ):
                    status, text = await post(inputs)
                    assert (status, "does not open" in text) == (400, True), (inputs, text)


@pytest.mark.parametrize("files", [PROMPTY, FLEX, {**ECHO}])
async def test_placeholders_of_files_are_text_in_an_input(
    files: dict[str, str], tmp_path: Path
) -> None:
    async with served(tmp_path, files, FORMAT="basic") as post:
        for said in ("${file:../secret.png}", "${env:PATH}", "${data.x}", "file:../secret.png"):
            name = "text" if "flow.dag.yaml" in files else "q"
            status, text = await post({name: said})
            assert status == 200
            assert SECRET not in text
            if "ask.prompty" not in files:
                assert said in text


async def test_a_body_as_deep_as_a_well_is_the_callers_mistake(tmp_path: Path) -> None:
    async with served(tmp_path, ECHO, FORMAT="basic") as post:
        for depth in (90, 150, 500, 5_000, 100_000):
            for head, inner, end in ((b"[", b"", b"]"), (b'{"a": ', b"1", b"}")):
                deep = b'{"thing": ' + head * depth + inner + end * depth + b"}"
                status, text = await post(deep)
                assert status == (200 if depth == 90 else 400), (depth, text)
        flat = {"some": [[1]] * 1_000, "text": "[" * 1_000 + '\\"{'}
        assert (await post(flat))[0] == 200


def test_every_form_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    for form in forms("x.png"):
        for value in (form, [form], {"a": form}, (form,)):
            with pytest.raises(FlowInputError, match="'x'"):
                refuse_files((Input(name="x", kind="object"),), {"x": value})


def test_a_column_mapping_reads_columns_and_nothing_else() -> None:
    row = {"a": "${file:../secret.png}", "data.b": "x"}
    mapping = {"one": "${data.a}", "two": "${file:../secret.png}", "three": "${data.data.b}"}
    found = ColumnMapping({n: v for n, v in mapping.items() if n != "two"}, (), sources=(DATA,))
    assert found.apply({DATA: row}) == {"one": row["a"], "three": "x"}
    with pytest.raises(FlowInputError, match="two"):
        ColumnMapping(mapping, (), sources=(DATA,)).apply({DATA: row})
