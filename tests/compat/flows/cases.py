"""The flows of a checkout of prompt flow's examples, and what each of them is asked in the proof.

Needs the standard library and ruamel.yaml: the original's environment loads this file as well.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.compat.flows.endpoint import digest

#: Lines of a batch.
LINES = 5
#: Values for the examples' environment. {url}: of the endpoint.
ENVIRONMENT = {
    "AZURE_OPENAI_API_KEY": "key",
    "AZURE_OPENAI_ENDPOINT": "{url}",
    "AZURE_OPENAI_API_BASE": "{url}",
    "AZURE_OPENAI_API_TYPE": "azure",
    "AZURE_OPENAI_DEPLOYMENT": "gpt-4o",
    "OPENAI_API_VERSION": "2024-02-01",
    "OPENAI_API_KEY": "key",
    "OPENAI_API_BASE": "{url}/v1",
    "OPENAI_BASE_URL": "{url}/v1",
    "OPENAI_API_TYPE": "azure",
    "CHAT_MODEL_DEPLOYMENT_NAME": "gpt-4",
    "EMBEDDING_MODEL_DEPLOYMENT_NAME": "text-embedding-ada-002",
    # Pages of the world are refused, the same way each time.
    "HTTP_PROXY": "{url}",
    "HTTPS_PROXY": "{url}",
    "http_proxy": "{url}",
    "https_proxy": "{url}",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
#: A PNG of one pixel.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
AZURE = ("open_ai_connection", "aoai_gpt4v_connection", "azure_openai", "your_open_ai_connection")
#: By name: configs and secrets. {url}: of the endpoint.
CUSTOM: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "basic_custom_connection": (
        {"api_type": "azure", "api_version": "2024-02-01", "api_base": "{url}"},
        {"api_key": "key"},
    ),
    "custom_connection": (
        {
            "CHAT_DEPLOYMENT_NAME": "gpt-4",
            "OPENAI_API_VERSION": "2024-02-01",
            "OPENAI_API_TYPE": "azure",
            "OPENAI_API_BASE": "{url}",
            "AZURE_OPENAI_ENDPOINT": "{url}",
        },
        {"OPENAI_API_KEY": "key", "AZURE_OPENAI_API_KEY": "key"},
    ),
    "my_custom_connection": ({"api_base": "a base"}, {"api_key": "key"}),
    "normal_custom_connection": ({"api_base": "test"}, {"api_key": "key"}),
    "my_llm_connection": ({"azure_endpoint": "{url}"}, {"openai_api_key": "key"}),
    "azure_ai_language": ({"endpoint": "{url}"}, {"api_key": "key"}),
    "azure_ai_translator": ({"endpoint": "{url}", "region": "here"}, {"api_key": "key"}),
    "maas_connection": ({"api_url": "{url}"}, {"api_key": "key"}),
}


@dataclass
class Case:
    """A flow and what it is asked. single: the inputs of one line. mapping, rows: of its batch.

    variants: `(node, variant)`, but those that are the default. init: of a flex flow's class.
    """

    name: str
    file: Path
    kind: str
    single: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    mapping: dict[str, str] = field(default_factory=dict)
    variants: list[tuple[str, str]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)


def copied(examples: Path, target: Path) -> Path:
    """A copy that flows may write into, with the links of the example that needs some."""
    shutil.copytree(examples, target, ignore=shutil.ignore_patterns("*.ipynb", "*-maf", "*.gif"))
    linked = target / "flows/standard/flow-with-symlinks"
    source = linked.parent / "web-classification"
    for file in source.iterdir() if linked.is_dir() and source.is_dir() else ():
        if not (linked / file.name).exists():
            (linked / file.name).symlink_to(Path("..") / source.name / file.name)
    return target


def names(examples: Path) -> list[str]:
    """The flows' files, relative to the folder."""
    found = []
    for path in examples.rglob("*"):
        relative = path.relative_to(examples)
        is_hidden = any(part.startswith(".") or part.endswith("-maf") for part in relative.parts)
        if not is_hidden and (
            path.name in ("flow.dag.yaml", "flow.flex.yaml") or path.suffix == ".prompty"
        ):
            found.append(relative.as_posix())
    return sorted(found)


def case(root: Path, name: str) -> Case:
    """What the flow of that name in a copy is asked."""
    file = root / name
    kind = {".prompty": "prompty"}.get(file.suffix, "flex" if "flex" in file.name else "dag")
    document = _document(file)
    made = Case(name=name, file=file, kind=kind)
    made.includes = document.get("additional_includes") or []
    made.variants = [
        (node, str(variant))
        for node, told in (document.get("node_variants") or {}).items()
        for variant in told.get("variants") or {}
        if variant != told.get("default_variant_id")
    ]
    sample = _sample(document.get("sample"), file.parent)
    declared = document.get("inputs") or {}
    wanted = list(declared) or (_parameters(document, file.parent) if kind == "flex" else [])
    defaults = _defaults(declared)
    made.init = _init(sample, file.parent) if kind == "flex" else {}
    rows = _rows(file.parent, {each for each in wanted if each not in defaults})
    own = sample.get("inputs", sample)
    inputs = {key: value for key, value in own.items() if key in wanted or not wanted}
    row = {} if inputs or not rows else rows[0]
    made.single = {**{k: v for k, v in row.items() if k in wanted and k not in defaults}, **inputs}
    for each in declared:
        if each not in defaults and each not in made.single:
            made.single[each] = _made_up(declared.get(each))
    made.rows = rows[:LINES] or [dict(made.single) for _ in range(LINES)]
    # A row without columns is no row to the original.
    made.rows = [each or {"line": 0} for each in made.rows]
    made.mapping = _run_mapping(file) or {
        each: f"${{data.{each}}}" for each in wanted if all(each in row for row in made.rows)
    }
    return made


def values_of(kept: dict[str, str], url: str) -> dict[str, str]:
    """The values with the endpoint's address in them."""
    return {key: value.replace("{url}", url) for key, value in kept.items()}


# --- what came out ---


def seen(value: Any, root: Path, folder: Path) -> Any:
    """A result with all that a machine, a folder or a file's name adds to it taken out."""
    if isinstance(value, bytes):
        return f"image {sha256(value).hexdigest()[:16]}"
    if isinstance(value, dict):
        key = next(iter(value), "")
        if len(value) == 1 and _is_path_of_image(key):
            return seen((folder / value[key]).read_bytes(), root, folder)
        # Clients of other versions fill a message up with other keys that say nothing.
        is_message = value.get("role") == "assistant"
        return {
            str(key): seen(each, root, folder)
            for key, each in value.items()
            if not (is_message and each is None)
        }
    if isinstance(value, list | tuple):
        return [seen(each, root, folder) for each in value]
    if isinstance(value, str):
        return value.replace(str(root), "ROOT")
    if isinstance(value, float) and math.isnan(value):
        return None  # JSON has no NaN; the original writes it all the same
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def requests(asked: list[tuple[str, Any]], root: Path) -> list[str]:
    """The multiset of requests, as sorted digests."""
    return sorted(digest([path, _plain(seen(body, root, root))]) for path, body in asked)


def _plain(value: Any) -> Any:
    """A body in which 1.0 and 1 are one number, and a parameter that is null is none, as for its reader."""
    if isinstance(value, dict):
        # How an embedding's numbers travel is the client's own affair.
        return {
            key: _plain(each)
            for key, each in value.items()
            if each is not None and key != "encoding_format"
        }
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --- reading ---


def _document(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".prompty":
        text = text.split("---")[1]
    return YAML(typ="safe", pure=True).load(text) or {}


def _sample(value: Any, folder: Path) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("${file:"):
        value = json.loads((folder / value[7:-1]).read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}


def _made_up(told: Any) -> Any:
    """A value for an input that neither the flow nor its data has one for."""
    kind = told.get("type", "string") if isinstance(told, dict) else "string"
    picture = {"data:image/png;base64": PICTURE}
    values = {"list": [], "object": {}, "int": 3, "double": 0.5, "bool": True, "image": picture}
    return values.get(kind, "Some text.")


def _init(sample: dict[str, Any], folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = sample.get("init") or {}
    for name in ("init.json", "run.yml"):
        if not found and (folder / name).is_file():
            told = YAML(typ="safe", pure=True).load((folder / name).read_text(encoding="utf-8"))
            found = told.get("init") or {} if name == "run.yml" else told
    return found


def _defaults(declared: dict[str, Any]) -> set[str]:
    """Inputs that have one; of a prompty a plain value is one."""
    return {n for n, told in declared.items() if not isinstance(told, dict) or "default" in told}


def _parameters(document: dict[str, Any], folder: Path) -> list[str]:
    module, _, thing = document["entry"].partition(":")
    file = folder / f"{module.replace('.', '/')}.py"
    for each in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(each, ast.ClassDef) and each.name == thing:
            for inner in each.body:
                if getattr(inner, "name", "") == "__call__":
                    return [a.arg for a in inner.args.args][1:]  # type: ignore[attr-defined]
        if getattr(each, "name", "") == thing and hasattr(each, "args"):
            return [a.arg for a in each.args.args]
    return []


def _rows(folder: Path, wanted: set[str]) -> list[dict[str, Any]]:
    """The first data file whose rows have all that is wanted, images' paths made absolute."""
    files = [folder / "data.jsonl", *sorted(folder.glob("*.json*")), *sorted(folder.glob("data/*"))]
    for file in files:
        if not file.is_file() or file.suffix not in (".jsonl", ".json", ".csv"):
            continue
        rows: Any
        try:
            text = file.read_text(encoding="utf-8-sig")
            if file.suffix == ".csv":
                rows = list(csv.DictReader(text.splitlines()))
            elif file.suffix == ".json":
                rows = json.loads(text)
            else:
                rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            continue
        is_table = isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict)
        if is_table and wanted <= set(rows[0]):
            return [_placed(row, file.parent) for row in rows[:LINES]]
    return []


def _placed(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {
            key: str(folder / each) if _is_path_of_image(key) else _placed(each, folder)
            for key, each in value.items()
        }
    return [_placed(each, folder) for each in value] if isinstance(value, list) else value


def _is_path_of_image(key: object) -> bool:
    return isinstance(key, str) and key.startswith("data:image/") and key.endswith(";path")


def _run_mapping(file: Path) -> dict[str, str]:
    path = file.parent / "run.yml"
    if not path.is_file():
        return {}
    told = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    is_own = (file.parent / str(told.get("flow"))).resolve() in (file, file.parent)
    return told.get("column_mapping") or {} if is_own else {}


# --- digests ---

#: What is compared of each thing that was asked.
COMPARED = ("outputs", "metrics", "error", "requests", "completed", "failed")


def digests(told: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a flow's results. Parts that differ from run to run are kept as `changing`."""
    if "load" in told:
        return {"load": told["load"]}
    again = told.get("again", {})
    kept: dict[str, Any] = {}
    changing = {part for part in COMPARED if again and again.get(part) != told["single"].get(part)}
    for asked, result in told.items():
        if asked == "again":
            continue
        kept[asked] = {}
        for part in COMPARED:
            if part in result:
                # A metric is a number: 1 and 1.0 are one.
                value = _plain(result[part]) if part == "metrics" else result[part]
                is_plain = part in ("error", "completed", "failed")
                kept[asked][part] = (
                    "changing" if part in changing else value if is_plain else digest(value)
                )
        is_counted = "requests" not in changing
        kept[asked]["calls"] = len(result["requests"]) if is_counted else "changing"
    return kept
