"""`thinkingConfig`: how much Gemini thinks, as a budget or a level, by what the model knows."""

from __future__ import annotations

from farthing.core.chat import ChatRequest
from farthing.wire.dialects._effort import budget_of
from farthing.wire.dialects.google_words import (
    BUDGET_MODELS,
    LEAST_BUDGETS,
    LEVELS,
    MINIMAL_MODELS,
    MOST_BUDGET,
    NAME,
)

Json = dict[str, object]


def thinking_config(request: ChatRequest, dropped: list[str]) -> Json | None:
    """Budgets for models that count, levels for those that name; None where nothing was asked for."""
    wanted = request.reasoning
    if wanted is None:
        return None
    effort, budget = wanted.effort, wanted.budget_tokens
    shown: Json = {}
    if request.dialect == NAME:
        if effort is not None:
            shown["thinkingLevel"] = effort.upper()
    elif effort is not None and not (budget and budget > 0):
        is_counting = request.model.startswith(BUDGET_MODELS)
        budget = _budget(request.model, effort) if is_counting else None
        if not is_counting and effort in LEVELS:
            shown["thinkingLevel"] = _level(request.model, effort)
        if (budget is None and not shown) or (effort == "none" and budget != 0):
            dropped.append("reasoning.effort")
    elif budget == -1 and not request.model.startswith(BUDGET_MODELS):
        budget = None
    if budget is not None:
        shown["thinkingBudget"] = budget
    if wanted.include_thoughts is not None:
        shown["includeThoughts"] = wanted.include_thoughts
    elif request.dialect != NAME and wanted.summary is not None:
        shown["includeThoughts"] = True
    return shown if shown or request.dialect == NAME else None


def _budget(model: str, effort: str) -> int | None:
    budget = budget_of(effort)
    if budget is None:
        return None
    least = next((n for name, n in LEAST_BUDGETS.items() if model.startswith(name)), None)
    return min(budget, MOST_BUDGET) if least is None else max(budget, least)


def _level(model: str, effort: str) -> str:
    is_least = effort in ("none", "minimal")
    if is_least and model.removeprefix("models/").startswith(MINIMAL_MODELS):
        return "MINIMAL"
    return LEVELS[effort]
