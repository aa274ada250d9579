"""Whole flows to start from, kept as data in farthing.templates; `farthing flow new --template` copies them."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from farthing.core.errors import FlowError, did_you_mean

#: The models that the templates name, and that a copy may name otherwise.
CHEAP, RICH = "sim/small", "sim/large"
_KEEPS_MODELS = ".md"  # the cost that a README states was measured with the simulator's
_COMPILED = "__pycache__"


def templates() -> dict[str, str]:
    """What each template makes of what, by its name."""
    return {each.name: _description(each) for each in _folders()}


def write_template(folder: Path, name: str, *, cheap: str = CHEAP, rich: str = RICH) -> list[Path]:
    """Copy a template into a new folder; its files come back. cheap, rich: the models that it asks.

    Raises FlowError: there is no such template, or the folder is there already.
    """
    found = {each.name: each for each in _folders()}
    if name not in found:
        raise FlowError(
            f"There is no template '{name}'.",
            hint=did_you_mean(name, list(found)) or f"There are {', '.join(found)}.",
        )
    if folder.exists():
        raise FlowError(
            f"{folder} is there already.", hint="Name a new folder; nothing was written."
        )
    made = []
    try:
        for path, text in _texts(found[name]):
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            keeps_models = file.suffix == _KEEPS_MODELS
            told = text if keeps_models else _with_models(text, cheap, rich)
            file.write_text(told, encoding="utf-8")
            made.append(file)
    except OSError as error:
        raise FlowError(
            f"{folder} cannot be written: {error.strerror}.", hint="Name another folder."
        ) from error
    return made


def _folders() -> list[Traversable]:
    root = files("farthing.templates").joinpath("flows")
    found = [each for each in root.iterdir() if each.joinpath("flow.dag.yaml").is_file()]
    return sorted(found, key=lambda each: each.name)


def _description(folder: Traversable) -> str:
    from farthing.flows import yaml

    with_path = Path(str(folder.joinpath("flow.dag.yaml")))
    return str(yaml.read(with_path).get("description", ""))


def _with_models(text: str, cheap: str, rich: str) -> str:
    # Both at once: the new name of one may be the old name of the other.
    return cheap.join(part.replace(RICH, rich) for part in text.split(CHEAP))


def _texts(folder: Traversable, below: str = "") -> list[tuple[str, str]]:
    """Each file below, as (its path there, its text), sorted."""
    found = []
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir() and each.name != _COMPILED:
            found.extend(_texts(each, f"{below}{each.name}/"))
        elif each.is_file():
            found.append((f"{below}{each.name}", each.read_text(encoding="utf-8")))
    return found
