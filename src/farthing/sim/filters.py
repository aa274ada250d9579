"""The content filter: what it finds by the marks in a prompt, and Azure's annotations of it."""

from __future__ import annotations

from farthing.sim.asks import Ask, Screening
from farthing.sim.text import directives

#: Categories with severities, blocked from `medium` on (Azure's default).
CATEGORIES = ("hate", "self_harm", "sexual", "violence")
#: Categories of completions that are detected, not graded.
PROTECTED = ("protected_material_text", "protected_material_code")


def screen(ask: Ask) -> Screening:
    """What the filter finds in this prompt and will find in its answer."""
    marks = directives(ask.last)
    prompt = _category(marks.get("block_prompt"), ("jailbreak",))
    if "jailbreak" in marks:
        prompt = "jailbreak"
    return Screening(
        prompt=prompt,
        completion=_category(marks.get("block_completion"), PROTECTED),
        is_outage="filter_outage" in marks,
    )


def prompt_annotations(screening: Screening) -> list[dict[str, object]]:
    """`prompt_filter_results`: one entry for the one prompt."""
    results = category_results(screening.prompt)
    results["jailbreak"] = _detected(screening.prompt == "jailbreak")
    return [{"prompt_index": 0, "content_filter_results": results}]


def completion_annotations(screening: Screening) -> dict[str, object]:
    """The members that Azure adds to a choice: results, or the error that there are none."""
    if screening.is_outage:
        error = {"code": "content_filter_error", "message": "The contents are not filtered"}
        return {"content_filter_result": {"error": error}}
    results = category_results(screening.completion)
    for name in PROTECTED:
        results[name] = _detected(screening.completion == name)
    return {"content_filter_results": results}


def category_results(blocked: str | None) -> dict[str, object]:
    """Severity of each category; the blocked one is `medium`."""
    return {
        name: {"filtered": name == blocked, "severity": "medium" if name == blocked else "safe"}
        for name in CATEGORIES
    }


def inner_error(blocked: str) -> dict[str, object]:
    """`innererror` of a blocked prompt."""
    results = category_results(blocked)
    results["jailbreak"] = _detected(blocked == "jailbreak")
    return {"code": "ResponsibleAIPolicyViolation", "content_filter_result": results}


def _detected(is_found: bool) -> dict[str, object]:
    return {"filtered": is_found, "detected": is_found}


def _category(named: str | None, more: tuple[str, ...]) -> str | None:
    if named is None:
        return None
    return named if named in (*CATEGORIES, *more) else "hate"
