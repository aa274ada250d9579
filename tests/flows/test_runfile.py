"""`run.yml`: each key, what is left aside, and errors with their place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from farthing.core.errors import FlowFormatError
from farthing.flows.batch.runfile import RunFile, dotenv, load


def read(folder: Path, text: str) -> RunFile:
    (folder / "flow").mkdir(exist_ok=True)
    (folder / "data.jsonl").touch()
    path = folder / "run.yml"
    path.write_text(text)
    return load(path)


def test_each_key_is_read_and_paths_are_meant_from_the_file(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
$schema: https://azuremlschemas.azureedge.net/promptflow/latest/Run.schema.json
name: first
display_name: First
description: of many
flow: flow
data: data.jsonl
run: earlier
variant: ${ask.variant_1}
column_mapping:
  question: ${data.q}
  options: {a: 1}
  literal: on
connections:
  ask: {connection: mine, deployment_name: small}
environment_variables:
  KEY: ${mine.api_key}
  COUNT: 3
init:
  model_config: {azure_deployment: small}
tags: {who: me}
properties: {n: 1}
resources: {instance_type: Standard_D2}
identity: {type: managed}
runtime: r
colum_mapping: {}
""",
    )
    assert found.name == "first"
    assert found.flow == tmp_path / "flow"
    assert found.data == tmp_path / "data.jsonl"
    assert found.run == "earlier"
    assert found.variant == "${ask.variant_1}"
    assert found.column_mapping == {"question": "${data.q}", "options": {"a": 1}, "literal": "on"}
    assert found.connections == {"ask": {"connection": "mine", "deployment_name": "small"}}
    assert found.environment_variables == {"KEY": "${mine.api_key}", "COUNT": "3"}
    assert found.init == {"model_config": {"azure_deployment": "small"}}
    assert found.tags == {"who": "me"} and found.properties == {"n": "1"}
    assert len(found.notes) == 4
    assert "Azure" in found.notes[0]
    assert "Did you mean 'column_mapping'?" in found.notes[-1]


def test_what_is_kept_of_it_names_secrets_only(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "flow: flow\ndata: data.jsonl\nenvironment_variables: {KEY: sk-1}\ninit: {key: sk-2}\n",
    )
    kept = found.definition()
    assert kept.environment == ("KEY",) and kept.init == ("key",)
    assert b"sk-" not in msgspec.json.encode(kept)
    assert "sk-" not in repr(found)


def test_variables_and_init_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "env_file").write_text("# note\nexport A=1\nB='x # y' # z\nC=a b # c\n\nD\nE=\n")
    (tmp_path / "init.json").write_text('{"a": [1]}')
    found = read(
        tmp_path, "flow: flow\ndata: data.jsonl\nenvironment_variables: env_file\ninit: init.json\n"
    )
    assert found.environment_variables == {"A": "1", "B": "x # y", "C": "a b", "E": ""}
    assert found.init == {"a": [1]}
    assert dotenv('A="q"') == {"A": "q"}


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("data: data.jsonl\n", None, "has no flow"),
        ("flow: flow\n", None, "neither data nor run"),
        ("flow: flow\ndata: dat.jsonl\n", 2, "Did you mean 'data.jsonl'?"),
        ("flow: azureml:flow:1\ndata: data.jsonl\n", 1, "not on this machine"),
        ("flow: flow\ndata: data.jsonl\ninit: gone.json\n", 3, "cannot be read"),
        ("flow: flow\ndata: data.jsonl\ncolumn_mapping: [1]\n", 3, "a list"),
    ],
)
def test_an_error_names_the_place_and_what_to_do(
    tmp_path: Path, text: str, line: int | None, told: str
) -> None:
    with pytest.raises(FlowFormatError) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)
    if line is not None:
        assert caught.value.line == line


def test_a_run_to_resume_needs_nothing_else(tmp_path: Path) -> None:
    assert read(tmp_path, "resume_from: earlier\n").resume_from == "earlier"
