"""Texts that mark the parameters of a tool: what kind of text is meant, for editors and for the loader."""

from __future__ import annotations

from typing import Any

import msgspec

#: The keyword with which a custom LLM tool is told which of its values come straight from the flow's inputs, so
#: that no role in them begins a message (the name is prompt flow's).
EXPOSED = "_inputs_to_escape"


class Secret(str):
    """A text that must not be shown. The value is a text as any other."""

    secret_name: str

    def set_secret_name(self, name: str) -> None:
        """Remember under which name it is kept."""
        self.secret_name = name


class PromptTemplate(str):
    """A template that the tool renders itself."""

    __slots__ = ()


class FilePath(str):
    """The path of a file; a literal is made absolute when it is a file of the flow."""

    __slots__ = ()


class AssistantDefinition(msgspec.Struct):
    """An assistant as a flow's file describes it. Its tools are the file's words, not functions."""

    model: str = ""
    instructions: str = ""
    tools: list[Any] = []

    @staticmethod
    def deserialize(data: dict[str, Any]) -> AssistantDefinition:
        """Out of a mapping."""
        return msgspec.convert(data, AssistantDefinition)

    def serialize(self) -> dict[str, Any]:
        """As a mapping."""
        return msgspec.structs.asdict(self)
