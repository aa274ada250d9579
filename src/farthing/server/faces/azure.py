"""Azure OpenAI's face: classic deployment paths with `api-version`, and `/openai/v1`."""

from __future__ import annotations

import re

import msgspec

from farthing.core.errors import BadRequestError, ContentFilteredError, FarthingError
from farthing.server.faces.face import Face, Operation, Visit, answer_call, bearer
from farthing.server.faces.openai import model, models, operations
from farthing.wire.edge.exchange import Exchange
from farthing.wire.spans import put_model

#: `2024-10-21`, `2025-04-01-preview`, and v1's words. Any date is taken: the answers do not depend on it.
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?|preview|latest|v1")
#: Azure's words where they differ from OpenAI's (Azure OpenAI REST reference, 2024-10-21).
_CODES = {
    "model_not_found": "DeploymentNotFound",
    "rate_limit_exceeded": "429",
    "upstream_rate_limited": "429",
    "invalid_api_key": "401",
    "not_found": "404",
}


async def chat(visit: Visit) -> None:
    """POST /openai/deployments/{deployment}/chat/completions"""
    await _answer(visit, "openai-chat")


async def completions(visit: Visit) -> None:
    """POST /openai/deployments/{deployment}/completions"""
    await _answer(visit, "openai-completions")


async def embeddings(visit: Visit) -> None:
    """POST /openai/deployments/{deployment}/embeddings"""
    await _answer(visit, "openai-embeddings")


async def responses(visit: Visit) -> None:
    """POST /openai/responses"""
    _check_version(visit)
    await answer_call(visit, "openai-responses")


def encode_error(error: FarthingError) -> bytes:
    """`{"error": {"code", "message", …}}`; a filtered prompt has Azure's `innererror`."""
    fields: dict[str, object] = {
        "code": _CODES.get(error.code, error.code),
        "message": str(error),
        "param": error.param,
        "type": "invalid_request_error" if error.status < 500 else "server_error",
    }
    if isinstance(error, ContentFilteredError):
        fields["status"] = 400
        fields["innererror"] = {"code": "ResponsibleAIPolicyViolation"}
    return msgspec.json.encode({"error": fields})


async def _answer(visit: Visit, dialect: str) -> None:
    _check_version(visit)
    deployment = visit.parameters["deployment"]
    # The path names the deployment; bodies have no model, a null, or any name at all.
    await answer_call(visit, dialect, complete=lambda body: put_model(body, deployment))


def _check_version(visit: Visit) -> None:
    version = visit.exchange.query("api-version")
    if version is None or not _API_VERSION.fullmatch(version):
        raise BadRequestError(
            "The query parameter api-version is missing or not a version.",
            hint="Add one such as ?api-version=2024-10-21, or use the path /openai/v1, which needs none.",
            param="api-version",
        )


def _read_key(exchange: Exchange) -> str | None:
    return exchange.header("api-key") or bearer(exchange)


_CLASSIC = "/openai/deployments/{deployment}"

FACE = Face(
    name="azure",
    read_key=_read_key,
    error_body=encode_error,
    operations=(
        Operation(
            method="POST",
            path=f"{_CLASSIC}/chat/completions",
            handle=chat,
            summary="Chat at a named deployment",
        ),
        Operation(
            method="POST",
            path=f"{_CLASSIC}/completions",
            handle=completions,
            summary="Complete a prompt at a named deployment",
        ),
        Operation(
            method="POST",
            path=f"{_CLASSIC}/embeddings",
            handle=embeddings,
            summary="Embed texts at a named deployment",
        ),
        *operations("/openai/v1"),
        # The classic paths that name no deployment.
        Operation(
            method="POST",
            path="/openai/responses",
            handle=responses,
            summary="Responses, whole or streamed",
        ),
        Operation(
            method="GET",
            path="/openai/models",
            handle=models,
            summary="List the models that this key may call",
        ),
        Operation(method="GET", path="/openai/models/{model}", handle=model, summary="One model"),
    ),
)
