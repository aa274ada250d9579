"""`promptflow.tools.azure_content_safety`: texts judged by Azure Content Safety."""

from farthing.flows.shim.late import late
from farthing.flows.tools.content_safety import (
    AzureContentSafety,
    TextCategorySensitivity,
    analyze_text,
)

__all__ = ["AzureContentSafety", "TextCategorySensitivity", "analyze_text"]

__getattr__ = late("promptflow.tools.azure_content_safety", known=globals())
