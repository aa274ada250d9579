"""A folder that a container is built from: the flow, what it needs, and a Dockerfile."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click

from farthing.core.errors import FlowError

_DOCKERFILE = """FROM python:3.12-slim
WORKDIR /app
COPY flow/ flow/
RUN pip install --no-cache-dir farthing=={version}{requirements}
COPY connections/ connections/
COPY start.sh .
EXPOSE 8080
ENV FARTHING_STORAGE__URL=sqlite:/app/.farthing/farthing.db
CMD ["sh", "start.sh"]
"""
#: Variables that no connection has a name for in a shell stay as they are in the file.
_NO_VARIABLE = re.compile(r"\W")


def build_flow(
    *, source: Path, output: Path, form: str | None, variant: str | None, flow_only: bool
) -> None:
    """Write the folder. Raises FlowError for an output that is not empty, or for an executable."""
    from farthing import __version__
    from farthing.flows.check.check import find_flows

    if form == "executable":
        raise FlowError(
            "Executables are not built.",
            hint="Build a container (--format docker), or serve the flow: farthing flow serve PATH",
        )
    if not find_flows(source):
        raise FlowError(f"{source} has no flow.", hint="Name a folder with a flow in it.")
    if output.exists() and any(output.iterdir()):
        raise FlowError(f"{output} is not empty.", hint="Name a folder that is not there yet.")
    folder = source if source.is_dir() else source.parent
    target = output if flow_only else output / "flow"
    skipped = shutil.ignore_patterns(
        "__pycache__", ".git", ".venv", ".farthing", ".env", output.name
    )
    shutil.copytree(folder, target, ignore=skipped, dirs_exist_ok=True)
    _bring_includes(source, target)
    if flow_only:
        click.echo(f"Copied the flow to {output}.")
        return
    served = "flow" if source.is_dir() else f"flow/{source.name}"
    names = _write_connections(output / "connections")
    has_more = (target / "requirements.txt").is_file()
    requirements = " -r flow/requirements.txt" if has_more else ""
    (output / "Dockerfile").write_text(
        _DOCKERFILE.format(version=__version__, requirements=requirements), encoding="utf-8"
    )
    lines = ["set -e"]
    lines += [f"farthing pf connection create --file connections/{name}.yaml" for name in names]
    chosen = f" --variant '{variant}'" if variant else ""
    lines.append(f"exec farthing flow serve {served} --host 0.0.0.0 --port 8080{chosen}")
    (output / "start.sh").write_text("\n".join(lines) + "\n", encoding="utf-8")
    click.echo(f"Wrote {output}. Build it: docker build -t {folder.resolve().name} {output}")
    if names:
        click.echo(f"Secrets come from the environment; see {output / 'connections'}.")


def _bring_includes(source: Path, target: Path) -> None:
    """Copy what belongs beside the flow: its additional_includes."""
    from farthing.flows.dag import format as dag

    if not (source / dag.FILE).is_file():
        return
    for each in dag.load(source).includes:
        origin = source / each
        if origin.is_dir():
            shutil.copytree(origin, target / origin.name, dirs_exist_ok=True)
        elif origin.is_file():
            shutil.copy2(origin, target / origin.name)


def _write_connections(folder: Path) -> list[str]:
    """The project's connections, each secret as `${env:NAME}`. Returns their names."""
    from ruamel.yaml import YAML

    from farthing.flows.jobs import project_connections

    folder.mkdir(parents=True, exist_ok=True)
    connections = project_connections()
    for name in connections.names():
        document = connections.show(name)
        prefix = _NO_VARIABLE.sub("_", name).upper()
        for held in (document, document.get("secrets") or {}):
            for key, value in held.items():
                if value and set(str(value)) == {"*"}:
                    held[key] = f"${{env:{prefix}_{_NO_VARIABLE.sub('_', key).upper()}}}"
        with (folder / f"{name}.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="rt").dump(document, file)
    return list(connections.names())
