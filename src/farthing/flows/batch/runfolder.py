"""A run as a folder of files, in prompt flow's shape, and what a flow's own files held when it ran."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, TextIO

import msgspec

from farthing.core.errors import ConflictError
from farthing.flows.batch.records import Line, Run
from farthing.flows.batch.runs import Runs

#: Files of a flow beyond this size, bytes, are data or models, and no part of its snapshot.
MAX_FILE = 1024 * 1024
#: A folder with more files than this is no flow's own; the rest is left out.
MAX_FILES = 1000
_PASSED_OVER = frozenset({"__pycache__", "node_modules"})
_IMAGE = re.compile(r"data:image/([\w.+-]+|\*);base64")


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written. changed: files of the flow that are not what they were when the run began."""

    folder: Path
    lines: int
    changed: tuple[str, ...]


async def export(runs: Runs, name: str, folder: Path) -> Exported:
    """Write a run to a new or empty folder: inputs.jsonl, outputs.jsonl (completed lines), metrics.json,
    meta.json, error.json, logs.txt, and snapshot/ with the flow as it is now.

    Images in outputs become files beside outputs.jsonl. Raises NotFoundError, ConflictError: the folder
    holds something.
    """
    run = await runs.find(name)
    await asyncio.to_thread(_prepare, folder)
    count = 0
    with (
        (folder / "inputs.jsonl").open("w", encoding="utf-8") as inputs,
        (folder / "outputs.jsonl").open("w", encoding="utf-8") as outputs,
        (folder / "logs.txt").open("w", encoding="utf-8") as logs,
    ):
        _log(
            logs, run.created_at_ms, "INFO", f"The run {run.name} of {run.definition.flow} begins."
        )
        last = -1
        while page := await runs.lines_after(run.id, last):
            last = page[-1].number
            count += len(page)
            for line in page:
                _write_line(line, inputs, outputs, logs, folder)
        _log_end(logs, run)
    _dump(folder / "metrics.json", run.metrics)
    _dump(folder / "error.json", await _errors(runs, run))
    changed = await asyncio.to_thread(_snapshot, run, folder / "snapshot")
    _dump(folder / "meta.json", _meta(run, changed))
    return Exported(folder=folder, lines=count, changed=changed)


def _prepare(folder: Path) -> None:
    """Make the folder. Raises ConflictError: there is something in it."""
    if folder.exists() and any(folder.iterdir()):
        raise ConflictError(
            f"The folder {folder} is not empty.",
            hint="Name a folder that is empty or not there yet.",
        )
    folder.mkdir(parents=True, exist_ok=True)


def file_digests(folder: Path) -> dict[str, str]:
    """The digest of each of a flow's own files, by path below its folder."""
    found = {}
    for path in _own_files(folder):
        try:
            content = path.read_bytes()
        except OSError:
            continue  # what cannot be read is no part of the flow
        found[path.relative_to(folder).as_posix()] = blake2b(content, digest_size=16).hexdigest()
    return found


def is_of_the_flow(file: str) -> bool:
    """Whether a file makes the flow what it is; data and results may lie beside it."""
    return file.endswith((".py", ".jinja2", ".yaml", ".yml", ".prompty"))


# --- lines ---


def _write_line(line: Line, inputs: TextIO, outputs: TextIO, logs: TextIO, folder: Path) -> None:
    inputs.write(_numbered(msgspec.json.decode(line.inputs), line.number))
    if line.status == "failed":
        where = f" in '{line.error_node}'" if line.error_node else ""
        told = f"Line {line.number} failed{where} ({line.error_code}): {line.error_message}"
        _log(logs, line.started_at_ms + line.latency_us // 1000, "ERROR", told)
        return
    found = msgspec.json.decode(line.outputs or "{}")
    outputs.write(_numbered(_with_files(found, line.number, folder), line.number))


def _numbered(values: dict[str, Any], number: int) -> str:
    """One line of JSONL; the number comes last, as prompt flow writes it."""
    values.pop("line_number", None)
    return json.dumps({**values, "line_number": number}, ensure_ascii=False) + "\n"


def _with_files(value: Any, number: int, folder: Path) -> Any:
    """The value with its images written as files and named in their place."""
    if isinstance(value, list):
        return [_with_files(each, number, folder) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        key, data = next(iter(value.items()))
        kind = _IMAGE.fullmatch(key)
        if kind is not None and isinstance(data, str):
            try:
                content = base64.b64decode(data, validate=True)
            except (ValueError, binascii.Error):
                return value
            ending = "bin" if kind[1] == "*" else kind[1].partition("+")[0]
            stem = blake2b(content, digest_size=8).hexdigest()
            file = folder / f"{number:09d}_{stem}.{ending}"
            file.write_bytes(content)
            return {f"data:image/{kind[1]};path": file.name}
    return {key: _with_files(each, number, folder) for key, each in value.items()}


# --- the run ---


def _log_end(logs: TextIO, run: Run) -> None:
    if run.error_code is not None:
        told = f"The run is {run.status} with {run.error_code}: {run.error_message}"
        _log(logs, run.ended_at_ms or run.created_at_ms, "ERROR", told)
    told = f"The run is {run.status}: {run.completed} lines completed, {run.failed} failed."
    _log(logs, run.ended_at_ms or run.created_at_ms, "INFO", told)


def _log(file: TextIO, at_ms: int, level: str, text: str) -> None:
    file.write(f"{_moment(at_ms)} {level:<8} {text}\n")


def _moment(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S %z}"


async def _errors(runs: Runs, run: Run) -> dict[str, Any]:
    """How many lines failed with what; empty when none did."""
    counts: dict[str, list[int]] = {}
    last = -1
    while page := await runs.lines_after(run.id, last, status="failed"):
        last = page[-1].number
        for line in page:
            counts.setdefault(line.error_code or "unknown", []).append(line.number)
    return {code: {"lines": len(lines), "first": lines[0]} for code, lines in counts.items()}


def _meta(run: Run, changed: tuple[str, ...]) -> dict[str, Any]:
    definition = msgspec.to_builtins(run.definition)
    definition.pop("files", None)
    return {
        "batch_size": 1,  # prompt flow's own files have it; its readers look at nothing else
        "name": run.name,
        "status": run.status,
        "created_at": _moment(run.created_at_ms),
        "ended_at": _moment(run.ended_at_ms) if run.ended_at_ms is not None else None,
        "lines": {"completed": run.completed, "failed": run.failed},
        "model_calls": run.calls,
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "nanodollars": run.nanodollars,
        "changed_since": list(changed),
        **definition,
    }


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# --- the flow's own files ---


def _snapshot(run: Run, target: Path) -> tuple[str, ...]:
    """Copy the flow's files. Returns those that differ from what ran: changed, new or gone."""
    flow = Path(run.definition.flow)
    folder = flow.parent if flow.is_file() else flow
    now = file_digests(folder)
    target.mkdir()
    for name in now:
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, copy)
    then = run.definition.files
    return tuple(sorted(n for n in then.keys() | now.keys() if then.get(n) != now.get(n)))


def _own_files(folder: Path) -> Iterator[Path]:
    """Files below the folder, but hidden ones (.env, .git, .farthing), links, caches and large ones."""
    left = MAX_FILES
    waiting = [folder] if folder.is_dir() else []
    while waiting and left > 0:
        try:
            entries = sorted(waiting.pop().iterdir())
        except OSError:
            continue  # a folder that may not be read
        for path in entries:
            if path.name.startswith(".") or path.name in _PASSED_OVER or path.is_symlink():
                continue
            if path.is_dir():
                waiting.append(path)
            elif path.is_file() and path.stat().st_size <= MAX_FILE and left > 0:
                left -= 1
                yield path
