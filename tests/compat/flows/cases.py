"""The flows of a checkout of prompt flow, its examples and its tests, and what each of them is asked in the proof.

Needs the standard library, ruamel.yaml and cryptography: the original's environment loads this file as well.
"""

from __future__ import annotations

import ast
import base64
import csv
import json
import re
import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tests.compat.flows.authority import authority
from tests.compat.flows.world import PICTURE

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
    "OPENAI_BASE_URL": "{url}/v1",
    "OPENAI_API_TYPE": "azure",
    "CHAT_MODEL_DEPLOYMENT_NAME": "gpt-4",
    "EMBEDDING_MODEL_DEPLOYMENT_NAME": "text-embedding-ada-002",
    "UNIFY_AI_API_KEY": "key",
    # The world's pages are made up, the same way each time.
    "REQUESTS_CA_BUNDLE": "{authority}",
    "SSL_CERT_FILE": "{authority}",
    "HTTP_PROXY": "{url}",
    "HTTPS_PROXY": "{url}",
    "http_proxy": "{url}",
    "https_proxy": "{url}",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
AZURE = (
    "open_ai_connection",
    "azure_open_ai_connection",
    "aoai_gpt4v_connection",
    "aoai_assistant_connection",
    "azure_openai",
    "your_open_ai_connection",
)
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


#: Folders of a checkout that have flows.
PARTS = ("benchmark", "examples", "src/promptflow-evals", "src/promptflow/tests/test_configs")
_IGNORED = shutil.ignore_patterns("*.ipynb", "*-maf", "*.gif", "recordings", "node_recordings")
#: Flows' files; an example keeps graphs for two ways of working beside its own.
_FLOW = re.compile(r"flow\.(?:flex\.yaml|dag\.yaml(?:\.[a-z-]+)?)")
#: What an example leaves for its user to choose.
_FILLED = {
    "connection": "open_ai_connection",
    "deployment_name": "gpt-4o",
    "api": "chat",
}
#: A flow that waits for ever, to be stopped by a limit.
_ENDLESS = "one_line_of_bulktest_timeout"
_BLANK = re.compile(r"^(\s+(connection|deployment_name|api): )(?:''|\"\")$", re.MULTILINE)
_CHANCE = re.compile(r"\brandom\.(choice|randint|random|sample|shuffle|uniform)\(")
_SLEEP = re.compile(r"\bsleep\(((?:[^()=]|\([^()]*\))+)\)")


@dataclass
class Case:
    """A flow and what it is asked. single: the inputs of one line. mapping, rows: of its batch.

    variants: `(node, variant)`, but those that are the default. init: of a flex flow's class.
    served: the inputs of a request to it, which must name them all. environment: variables of its file.
    """

    name: str
    file: Path
    kind: str
    single: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    mapping: dict[str, str] = field(default_factory=dict)
    variants: list[tuple[str, str]] = field(default_factory=list)
    served: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    includes: list[str] = field(default_factory=list)


def copied(checkout: Path, target: Path) -> Path:
    """A copy that flows may write into, ready as its READMEs say: links made, blanks filled in.

    Waits are a hundredth of what they are, and chance is always the same one. A graph kept beside the one
    in use gets a name that is a graph's.
    """
    for part in PARTS:
        if (checkout / part).is_dir():
            shutil.copytree(checkout / part, target / part, ignore=_IGNORED)
    for file in target.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        tamed = _SLEEP.sub(r"sleep((\1) / 100)", _CHANCE.sub(r"random.Random(0).\1(", text))
        if tamed != text:
            file.write_text(tamed, encoding="utf-8")
    for file in (target / "examples").rglob("flow.dag.yaml*"):
        text = file.read_text(encoding="utf-8-sig")
        text = _BLANK.sub(lambda found: found[1] + _FILLED[found[2]], text)
        _named(file).write_text(text, encoding="utf-8")
    linked = target / "examples/flows/standard/flow-with-symlinks"
    source = linked.parent / "web-classification"
    for file in source.iterdir() if linked.is_dir() and source.is_dir() else ():
        if not (linked / file.name).exists():
            (linked / file.name).symlink_to(Path("..") / source.name / file.name)
    return target


def names(checkout: Path) -> list[str]:
    """The flows' files in the parts that have some, relative to the checkout."""
    found = []
    for path in (each for part in PARTS for each in (checkout / part).rglob("*")):
        relative = path.relative_to(checkout)
        is_hidden = any(part.startswith(".") or part.endswith("-maf") for part in relative.parts)
        if (
            not is_hidden
            and path.parent.name != _ENDLESS
            and (_FLOW.fullmatch(path.name) or path.suffix == ".prompty")
        ):
            found.append(_named(relative).as_posix())
    return sorted(found)


def _named(file: Path) -> Path:
    """`flow.KIND.dag.yaml` for `flow.dag.yaml.KIND`."""
    kind = file.name.removeprefix("flow.dag.yaml")
    return file.with_name(f"flow{kind}.dag.yaml") if kind and kind != file.name else file


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
    variables = document.get("environment_variables") or {}
    made.environment = {key: str(value) for key, value in variables.items()}
    sample = _sample(document.get("sample"), file.parent)
    declared = document.get("inputs") or {}
    declared = declared if isinstance(declared, dict) else {}
    wanted = list(declared) or (_parameters(document, file.parent) if kind == "flex" else [])
    defaults = _defaults(declared)
    made.init = _init(sample, file.parent) if kind == "flex" else {}
    rows = _rows(file.parent, {each for each in wanted if each not in defaults})
    own = _sample(sample.get("inputs", sample), file.parent)
    inputs = {key: value for key, value in own.items() if key in wanted or not wanted}
    row = {} if inputs or not rows else rows[0]
    made.single = {**{k: v for k, v in row.items() if k in wanted and k not in defaults}, **inputs}
    for each in declared:
        if each not in defaults and each not in made.single:
            made.single[each] = _made_up(declared.get(each))
    # An image of the web would be asked for outside; the flow is given another.
    shown = {each: told["default"] for each, told in declared.items() if _is_shown(told)}
    shown = {k: _shown() if isinstance(each, str) else each for k, each in shown.items()}
    made.single = _placed({**shown, **made.single}, file.parent)
    rows = [{**_placed(shown, file.parent), **row} for row in rows]
    made.rows = rows[:LINES] or [dict(made.single) for _ in range(LINES)]
    # A row without columns is no row to the original.
    made.rows = [each or {"line": 0} for each in made.rows]
    made.mapping = _run_mapping(file) or {
        each: f"${{data.{each}}}" for each in wanted if all(each in row for row in made.rows)
    }
    given = {k: t["default"] for k, t in declared.items() if isinstance(t, dict) and k in defaults}
    for each, told in declared.items():
        if (
            isinstance(told, dict)
            and told.get("type") == "image"
            and isinstance(given.get(each), str)
        ):
            given[each] = _shown()
    made.served = _inline({**given, **made.single}, file.parent)
    return made


def values_of(kept: dict[str, str], url: str) -> dict[str, str]:
    """The values with the endpoint's address in them."""
    return {key: value.replace("{url}", url) for key, value in kept.items()}


def environment(url: str) -> dict[str, str]:
    """All variables of a flow's process."""
    told = values_of(ENVIRONMENT, url)
    if found := ranks():
        told["TIKTOKEN_CACHE_DIR"] = found
    return {key: value.replace("{authority}", str(authority().file)) for key, value in told.items()}


def ranks() -> str:
    """A folder of the tokenisers' files that the examples count with; a package of the compat extra has them."""
    found = find_spec("litellm")
    return (
        str(Path(found.origin).parent / "litellm_core_utils/tokenizers")
        if found and found.origin
        else ""
    )


# --- reading ---


def _document(file: Path) -> dict[str, Any]:
    """A flow's file, or nothing where it is none: whether it is, the sides are asked."""
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".prompty":
        text = text.split("---")[1]
    try:
        found = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _sample(value: Any, folder: Path) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("${file:"):
        value = json.loads((folder / value[7:-1]).read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}


def _made_up(told: Any) -> Any:
    """A value for an input that neither the flow nor its data has one for."""
    kind = told.get("type", "string") if isinstance(told, dict) else "string"
    values = {"list": [], "object": {}, "int": 3, "double": 0.5, "bool": True, "image": _shown()}
    return values.get(kind, "Some text.")


def _init(sample: dict[str, Any], folder: Path) -> dict[str, Any]:
    found = _sample(sample.get("init"), folder)
    for name in ("init.json", "run.yml", "run.yaml"):
        if not found and (folder / name).is_file():
            told = YAML(typ="safe", pure=True).load((folder / name).read_text(encoding="utf-8"))
            found = told.get("init") or {} if name != "init.json" else told
    return found


def _defaults(declared: dict[str, Any]) -> set[str]:
    """Inputs that have one; of a prompty a plain value is one."""
    return {n for n, told in declared.items() if not isinstance(told, dict) or "default" in told}


def _parameters(document: dict[str, Any], folder: Path) -> list[str]:
    module, _, thing = str(document.get("entry", "")).partition(":")
    file = folder / f"{module.replace('.', '/')}.py"
    if not file.is_file():
        return []
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
    """With images' paths made absolute, and images of the web replaced."""
    if isinstance(value, dict):
        key = next(iter(value), "")
        if _is_image(key, "url"):
            return _shown()
        return {
            key: str(folder / each) if _is_image(key, "path") else _placed(each, folder)
            for key, each in value.items()
        }
    return [_placed(each, folder) for each in value] if isinstance(value, list) else value


def _inline(value: Any, folder: Path) -> Any:
    """With the bytes of images in place of their paths: whoever asks a server is elsewhere."""
    if isinstance(value, dict):
        key = next(iter(value), "")
        if _is_image(key, "path"):
            wire = base64.b64encode((folder / value[key]).read_bytes()).decode()
            return {key.replace(";path", ";base64"): wire}
        return {key: _inline(each, folder) for key, each in value.items()}
    return [_inline(each, folder) for each in value] if isinstance(value, list) else value


def _shown() -> dict[str, str]:
    return {"data:image/png;base64": PICTURE}


def _is_shown(told: Any) -> bool:
    if not isinstance(told, dict):
        return False
    default = told.get("default")
    is_address = told.get("type") == "image" and str(default).startswith("http")
    return is_address or ";url" in json.dumps(default, default=str)


def _is_image(key: object, how: str) -> bool:
    return isinstance(key, str) and key.startswith("data:image/") and key.endswith(f";{how}")


def _run_mapping(file: Path) -> dict[str, str]:
    path = file.parent / "run.yml"
    if not path.is_file():
        return {}
    told = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    is_own = (file.parent / str(told.get("flow"))).resolve() in (file, file.parent)
    return told.get("column_mapping") or {} if is_own else {}
