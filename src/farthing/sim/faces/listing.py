"""Lists of models and counts of tokens, in each vendor's shape."""

from __future__ import annotations

from collections.abc import Mapping

from farthing.sim.asks import RefusedError
from farthing.sim.faces.shape import Json, encode
from farthing.sim.place import Place
from farthing.sim.scenario import Flavour

#: `created` of every listed model: 2026-01-01, unix seconds.
_CREATED = 1_767_225_600


def models_body(flavour: Flavour, places: Mapping[str, Place], path: str) -> bytes:
    """All models, or the one that the path names. Raises RefusedError (404)."""
    named = path.rpartition("/models/")[2] if "/models/" in path else None
    if named is not None:
        if named not in places:
            raise RefusedError(
                404, "model_not_found", f"The model '{named}' does not exist.", param="model"
            )
        return encode(_openai(named))
    listed = [name for name, place in places.items() if not place.is_retired]
    if flavour == "anthropic":
        data = [
            {"type": "model", "id": n, "display_name": n, "created_at": "2026-01-01T00:00:00Z"}
            for n in listed
        ]
        first, last = (listed[0], listed[-1]) if listed else (None, None)
        return encode({"data": data, "has_more": False, "first_id": first, "last_id": last})
    if flavour == "google":
        models = [
            {
                "name": f"models/{n}",
                "displayName": n,
                "inputTokenLimit": places[n].model.context_tokens,
                "outputTokenLimit": places[n].model.max_output_tokens,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for n in listed
        ]
        return encode({"models": models})
    return encode({"object": "list", "data": [_openai(name) for name in listed]})


def count_body(flavour: Flavour, tokens: int) -> bytes:
    """The answer of `count_tokens` and `countTokens`."""
    return encode({"totalTokens": tokens} if flavour == "google" else {"input_tokens": tokens})


def _openai(name: str) -> Json:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "farthing-sim"}
