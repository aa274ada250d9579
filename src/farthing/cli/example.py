"""The model that examples and `farthing ask` use when nobody named one."""

from __future__ import annotations

from farthing.core.models import Deployment
from farthing.providers.directory import Directory


def example_model(directory: Directory) -> str:
    """A name that can be called here: a route, else a real deployment, else a cheap catalogue model.

    Only when none of these exists is it a simulated deployment.
    """
    for name, route in directory.routes.items():
        if route.groups[0][0].kind == "chat":
            return name
    chats = [d for d in directory.deployments.values() if d.kind == "chat"]
    real = [d for d in chats if not d.is_simulated]
    if real:
        return real[0].name
    catalogued = [d for d in directory.catalogued() if _is_plain_chat(d)]
    if catalogued:
        return min(catalogued, key=_output_rate).name
    return chats[0].model if chats else "sim"


def _is_plain_chat(deployment: Deployment) -> bool:
    return (
        deployment.kind == "chat"
        and deployment.price is not None
        and "tools" in deployment.capabilities
        and _output_rate(deployment) > 0
    )


def _output_rate(deployment: Deployment) -> int:
    return deployment.price.standard.output if deployment.price is not None else 0
