"""The vendors' own words for refusing a call: unknown, retired, too long, blocked, unallocated."""

from __future__ import annotations

from farthing.sim import headers
from farthing.sim.asks import RefusedError, Screening
from farthing.sim.scenario import Flavour


def unknown_model(flavour: Flavour, model: str) -> RefusedError:
    """No such model (404)."""
    if flavour == "azure":
        message = "The API deployment for this resource does not exist."
        return RefusedError(404, "DeploymentNotFound", message)
    message = {
        "anthropic": f"model: {model}",
        "google": f"models/{model} is not found for API version v1beta.",
    }.get(flavour, f"The model `{model}` does not exist or you do not have access to it.")
    return RefusedError(404, "model_not_found", message, param="model")


def retired(flavour: Flavour, model: str) -> RefusedError:
    """The vendor turned the model off: Azure says 410, the others 404."""
    if flavour == "azure":
        message = f"The model '{model}' has been retired and is no longer available."
        return RefusedError(410, "ModelDeprecated", message)
    message = {
        "anthropic": f"model: {model}",
        "google": f"models/{model} is no longer available. Please update to a newer model.",
    }.get(flavour, f"The model `{model}` has been deprecated; see the deprecations page.")
    return RefusedError(404, "model_not_found", message, param="model")


def unallocated(flavour: Flavour, place: str) -> RefusedError:
    """The subscription owns quota, but none is given to this deployment (429)."""
    return RefusedError(
        429,
        "tokens",
        f"No quota is allocated to {place}. Allocate some of the subscription's quota to it.",
        retry_after_s=60.0,
        headers=headers.retry(flavour, 60.0),
    )


def too_long(context_tokens: int, wanted: int) -> RefusedError:
    """More tokens than the model takes (400)."""
    return RefusedError(
        400,
        "context_length_exceeded",
        f"This model's maximum context length is {context_tokens} tokens. However, you requested "
        f"{wanted} tokens (prompt is too long). Please reduce the length.",
        param="messages",
    )


def blocked(flavour: Flavour, screening: Screening) -> RefusedError:
    """The content filter refuses the prompt (400)."""
    if flavour == "azure":
        message = (
            "The response was filtered due to the prompt triggering Azure OpenAI's content "
            "management policy. Please modify your prompt and retry."
        )
        return RefusedError(400, "content_filter", message, param="prompt", screening=screening)
    return RefusedError(
        400, "invalid_prompt", "Invalid prompt: it was flagged by our usage policy."
    )
