"""Azure Content Safety: a text's severity in four categories, and whether to reject it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from farthing.core.errors import did_you_mean
from farthing.flows.code.tool import ToolProvider, node
from farthing.flows.connections.types import AzureContentSafetyConnection
from farthing.flows.tools.errors import (
    AzureContentSafetyInputValueError,
    AzureContentSafetySystemError,
)
from farthing.flows.tools.service import Service, key_of

SERVICE = Service(
    name="Azure Content Safety",
    refused=AzureContentSafetySystemError,
    broken=AzureContentSafetySystemError,
    refusal="Look at the connection's endpoint and api_version, and at the length of the text (10,000 at most).",
)
#: From this version on the verdicts are a list.
_LISTED = "2023-10-01"
#: The name in the tool's answer → the key of older versions' answers.
_CATEGORIES = {
    "Hate": "hateResult",
    "SelfHarm": "selfHarmResult",
    "Sexual": "sexualResult",
    "Violence": "violenceResult",
}


class TextCategorySensitivity(StrEnum):
    """How easily a category rejects."""

    DISABLE = "disable"
    LOW_SENSITIVITY = "low_sensitivity"
    MEDIUM_SENSITIVITY = "medium_sensitivity"
    HIGH_SENSITIVITY = "high_sensitivity"


#: The severity (0 to 7) from which a text is rejected; None: never.
_THRESHOLDS: Mapping[str, int | None] = {
    TextCategorySensitivity.DISABLE: None,
    TextCategorySensitivity.LOW_SENSITIVITY: 6,
    TextCategorySensitivity.MEDIUM_SENSITIVITY: 4,
    TextCategorySensitivity.HIGH_SENSITIVITY: 2,
}
_MEDIUM = TextCategorySensitivity.MEDIUM_SENSITIVITY


class AzureContentSafety(ToolProvider):
    """Judges texts with one connection."""

    def __init__(self, connection: AzureContentSafetyConnection) -> None:
        self.connection = connection

    @node
    def analyze_text(
        self,
        text: str,
        hate_category: TextCategorySensitivity = _MEDIUM,
        sexual_category: TextCategorySensitivity = _MEDIUM,
        self_harm_category: TextCategorySensitivity = _MEDIUM,
        violence_category: TextCategorySensitivity = _MEDIUM,
    ) -> dict[str, Any]:
        """`suggested_action` and `action_by_category`, each `Accept` or `Reject`.

        Raises AzureContentSafetyInputValueError for a sensitivity that there is not, before anything is sent;
        AzureContentSafetySystemError, ToolValidationError.
        """
        key = key_of(self.connection, AzureContentSafetyConnection, SERVICE.name)
        thresholds = {
            "Hate": _threshold("hate_category", hate_category),
            "SelfHarm": _threshold("self_harm_category", self_harm_category),
            "Sexual": _threshold("sexual_category", sexual_category),
            "Violence": _threshold("violence_category", violence_category),
        }
        version = self.connection.api_version
        found = SERVICE.ask(
            "POST",
            f"{str(self.connection.endpoint).rstrip('/')}/contentsafety/text:analyze?api-version={version}",
            headers={
                "Ocp-Apim-Subscription-Key": key,
                "Content-Type": "application/json",
                "ms-azure-ai-sender": "prompt_flow",
            },
            body=msgspec.json.encode({"text": text, "blocklistNames": []}),
            connection=self.connection.name,
        )
        return _decided(found, thresholds, is_listed=version == _LISTED)


@node
def analyze_text(
    connection: AzureContentSafetyConnection,
    text: str,
    hate_category: TextCategorySensitivity = _MEDIUM,
    sexual_category: TextCategorySensitivity = _MEDIUM,
    self_harm_category: TextCategorySensitivity = _MEDIUM,
    violence_category: TextCategorySensitivity = _MEDIUM,
) -> dict[str, Any]:
    """See `AzureContentSafety.analyze_text`."""
    return AzureContentSafety(connection).analyze_text(
        text, hate_category, sexual_category, self_harm_category, violence_category
    )


def _threshold(name: str, said: str) -> int | None:
    if str(said) not in _THRESHOLDS:
        raise AzureContentSafetyInputValueError(
            f"'{str(said)[:40]}' is no sensitivity for {name}.",
            hint=did_you_mean(str(said), [str(each) for each in _THRESHOLDS])
            or f"Write one of: {', '.join(_THRESHOLDS)}.",
        )
    return _THRESHOLDS[str(said)]


def _decided(
    found: Any, thresholds: Mapping[str, int | None], *, is_listed: bool
) -> dict[str, Any]:
    """One action for each category, and the sternest of them; a match in a block list rejects as well."""
    if not isinstance(found, dict):
        raise SERVICE.malformed("it is no object")
    by_category = {
        name: "Reject"
        if limit is not None and _severity(found, name, is_listed) >= limit
        else "Accept"
        for name, limit in thresholds.items()
    }
    blocked = found.get("blocklistsMatch" if is_listed else "blocklistsMatchResults")
    rejects = bool(blocked) or "Reject" in by_category.values()
    return {
        "suggested_action": "Reject" if rejects else "Accept",
        "action_by_category": by_category,
    }


def _severity(found: Mapping[str, Any], category: str, is_listed: bool) -> int:
    verdict: Any = found.get(_CATEGORIES[category])
    if is_listed:
        listed = found.get("categoriesAnalysis")
        verdicts = listed if isinstance(listed, list) else []
        verdict = next(
            (v for v in verdicts if isinstance(v, dict) and v.get("category") == category), None
        )
    severity = verdict.get("severity") if isinstance(verdict, dict) else None
    if not isinstance(severity, int):
        raise SERVICE.malformed(f"it has no severity for {category}")
    return severity
