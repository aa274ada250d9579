"""Placeholders of prompty and flex files: `${env:NAME:default}` and `${file:path}`, and samples that are files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows import yaml

_ENVIRONMENT = re.compile(r"\$\{env:([^:}]*)(?::([^}]*))?\}")
_FILE = re.compile(r"\$\{file:(.*)\}", re.DOTALL)


def settled(
    value: Any,
    folder: Path,
    *,
    path: str,
    environ: Mapping[str, str] | None = None,
    is_confined: bool = False,
    is_complete: bool = False,
) -> Any:
    """The value with each placeholder in it, at any depth, put in place.

    An environment variable that is not set gives the default behind a second colon; without one its text
    stays as it is, which `is_complete` refuses. A file is relative to `folder`, and with `is_confined` below
    it: JSON and YAML give their value, others their text. path: the file that says it, for errors. Raises
    FlowFormatError.
    """

    def inside(each: Any) -> Any:
        return settled(
            each,
            folder,
            path=path,
            environ=known,
            is_confined=is_confined,
            is_complete=is_complete,
        )

    known = os.environ if environ is None else environ
    if isinstance(value, str):
        found = _FILE.fullmatch(value)
        if found is not None:
            file = folder / found[1].strip()
            if is_confined:
                _check_below(file, folder, path)
            return read_value(file, path=path)
        return _ENVIRONMENT.sub(lambda each: _variable(each, known, path, is_complete), value)
    if isinstance(value, Mapping):
        return {key: inside(each) for key, each in value.items()}
    if isinstance(value, list):
        return [inside(each) for each in value]
    return value


def read_value(file: Path, *, path: str) -> Any:
    """What a file that another one refers to holds. Raises FlowFormatError that names both."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = [each.name for each in file.parent.iterdir()] if file.parent.is_dir() else []
        raise FlowFormatError(
            f"It refers to the file {file}, which does not exist.",
            hint=did_you_mean(file.name, beside) or "Paths are relative to the file that names it.",
            path=path,
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FlowFormatError(
            f"It refers to the file {file}, which cannot be read ({type(error).__name__}).",
            path=path,
        ) from error
    if file.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise FlowFormatError(
                f"This is not JSON: {getattr(error, 'msg', 'it cannot be read')}.",
                hint=f"It is read because {path} refers to it.",
                path=str(file),
                line=getattr(error, "lineno", None),
                column=getattr(error, "colno", None),
            ) from None
    if file.suffix.lower() in (".yaml", ".yml"):
        return yaml.plain(yaml.parse(text, str(file)))
    return text


def read_sample(sample: Any, folder: Path, *, path: str) -> dict[str, Any]:
    """A sample as a mapping, from itself or from the JSON file that it names. Raises FlowFormatError."""
    if not sample:
        return {}
    if isinstance(sample, str) and sample.endswith(".json"):
        name = sample.removeprefix("file:")
        sample = read_value(folder / name, path=path)
    if not isinstance(sample, dict):
        raise FlowFormatError(
            f"Its sample is a {type(sample).__name__}, where a mapping or a JSON file is expected.",
            hint="Write sample: with the inputs below it, or sample: ${file:sample.json}.",
            field="sample",
            path=path,
        )
    return sample


def _variable(found: re.Match[str], known: Mapping[str, str], path: str, is_complete: bool) -> str:
    name, default = found[1], found[2]
    value = known.get(name, default)
    if value is not None:
        return value
    if is_complete:
        raise FlowFormatError(
            f"The environment variable '{name}' is not set.",
            hint=f"Set it, or write a default: ${{env:{name}:value}}.",
            path=path,
        )
    return found[0]


def _check_below(file: Path, folder: Path, path: str) -> None:
    """Raises FlowFormatError when a file is not in the folder, links followed, or below it."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise FlowFormatError(
            f"It refers to the file {file}, which is outside its folder.",
            hint="A prompty may only read what is beside or below it; move the file there.",
            path=path,
        )
