"""What is kept of an experiment: which node has become which run, in a file of the project's own folder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import msgspec

from farthing.base.clock import Clock
from farthing.base.storage.lock import FileLock
from farthing.core.errors import ConflictError, FlowFormatError, NotFoundError, did_you_mean
from farthing.flows.batch import data
from farthing.flows.batch.runfolder import file_digests, is_of_the_flow
from farthing.flows.experiment.file import Experiment, Node, reference_of

#: Below the project's folder.
FOLDER = Path(".farthing/experiments")
_FILE, _LOCK = "experiment.json", "experiment.lock"

Status = Literal["not_started", "running", "completed", "failed", "cancelled", "interrupted"]


class NodeRun(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a node. made: names this time of making it. outputs: paths, of a command.

    run: its name in the store of runs, of a flow. digest: of what it was made from, files: of its own files,
    as it left them: where both are the same again, it is not run again.
    """

    status: Status
    made: str
    digest: str
    files: str
    run: str | None = None
    outputs: dict[str, str] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment that was created. template: its file. Times are in ISO 8601, UTC."""

    name: str
    template: str
    created_on: str
    status: Status = "not_started"
    given: dict[str, str] = {}
    nodes: dict[str, NodeRun] = {}
    last_start_time: str | None = None
    last_end_time: str | None = None


class Store:
    """The experiments of a project. root: the project's folder."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = (root / FOLDER).resolve()
        self._clock = clock

    def folder(self, name: str) -> Path:
        """Where an experiment's files are."""
        return self._root / name

    def lock(self, name: str) -> FileLock:
        """Held while the experiment runs."""
        return FileLock(self.folder(name) / _LOCK)

    def owner(self, name: str) -> int | None:
        """The process that runs it; None: none does."""
        if not self.lock(name).is_held():
            return None
        told = (self.folder(name) / _LOCK).read_text(encoding="ascii").strip()
        return int(told) if told.isdigit() else None

    def create(self, template: Path, name: str) -> Record:
        """A new experiment. Raises ConflictError: the name is taken; FlowFormatError: it is none."""
        if not name or name != Path(name).name or name.startswith("."):
            raise FlowFormatError(
                f"'{name[:60]}' cannot name an experiment.",
                hint="Use letters, digits, '-' and '_'.",
            )
        folder = self.folder(name)
        if (folder / _FILE).exists():
            raise ConflictError(
                f"There is an experiment '{name}'.",
                hint=f"Start it: farthing pf experiment start --name {name}; or choose another name.",
            )
        folder.mkdir(parents=True, exist_ok=True)
        record = Record(name=name, template=str(template.resolve()), created_on=self.now())
        self.write(record)
        return record

    def read(self, name: str) -> Record:
        """An experiment; one whose process is no more is interrupted. Raises NotFoundError."""
        try:
            text = (self.folder(name) / _FILE).read_bytes()
        except OSError:
            known = [each.name for each in self.all()]
            raise NotFoundError(
                f"There is no experiment '{name}'.",
                hint=did_you_mean(name, known) or "`farthing pf experiment list` shows all.",
            ) from None
        record = msgspec.json.decode(text, type=Record)
        if record.status == "running" and not self.lock(name).is_held():
            nodes = {
                key: msgspec.structs.replace(each, status="interrupted")
                for key, each in record.nodes.items()
                if each.status == "running"
            }
            record = msgspec.structs.replace(
                record, status="interrupted", nodes={**record.nodes, **nodes}
            )
        return record

    def all(self) -> list[Record]:
        """All, the latest first."""
        found = [self.read(each.parent.name) for each in self._root.glob(f"*/{_FILE}")]
        return sorted(found, key=lambda each: each.created_on, reverse=True)

    def write(self, record: Record) -> None:
        """Keep it: all of it or nothing."""
        file = self.folder(record.name) / _FILE
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2))
        new.replace(file)

    def now(self) -> str:
        """This moment."""
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat()


def digest(node: Node, experiment: Experiment, done: Mapping[str, NodeRun]) -> str:
    """What tells a node from one that was changed: what the file says of it, its data, what it refers to."""
    sources: dict[str, Any] = {}
    for value in node.inputs.values():
        found = reference_of(value)
        if found is None:
            continue
        if found.source == "data":
            path = experiment.data[found.name]
            sources[str(value)] = [str(path), data.digest(path)]
        elif found.source == "inputs":
            sources[str(value)] = experiment.inputs[found.name]
        else:
            sources[str(value)] = done[found.source].made
    if not sources and node.kind != "command":
        sources = {name: data.digest(path) for name, path in experiment.data.items()}
    told = {
        field: getattr(node, field)
        for field in node.__struct_fields__
        if field not in ("span", "display_name")
    }
    return _digest([told, sources])


def files_digest(node: Node) -> str:
    """What tells the files that make a flow, or all of a command's folder, from changed ones."""
    folders = (each if each.is_dir() else each.parent for each in node.paths)
    # What a flow's functions write while they run is no other flow.
    counts = (lambda _: True) if node.kind == "command" else is_of_the_flow
    return _digest(
        [
            {file: told for file, told in file_digests(each).items() if counts(file)}
            for each in folders
        ]
    )


def _digest(value: object) -> str:
    whole = msgspec.json.encode(value, enc_hook=str, order="sorted")
    return blake2b(whole, digest_size=16).hexdigest()
