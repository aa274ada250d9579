"""What a prompty makes of a model's answer: a text, a mapping out of JSON, a message, or all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from farthing.core.errors import FlowError, did_you_mean
from farthing.flows.prompty.file import Dialect, PromptyFile

#: With these the message says which functions to call. The second is what the original looks for by mistake,
#: the third what the API sends with the older `functions`.
_CALLING = ("tool_calls", "function_calls", "function_call")
#: Fields that a client's message has, whether or not the model's answer does.
_MESSAGE = ("content", "role", "function_call", "tool_calls")


class AnswerFormatError(FlowError):
    """The model's answer is not what the prompty says that it is."""

    code = "prompty_answer_invalid"
    status = 502


class Answer(dict[str, Any]):
    """A whole answer: a mapping whose fields can be read as attributes too, as vendors' clients have them."""

    @classmethod
    def of(cls, value: Any) -> Any:
        """The value with each mapping in it, at any depth, as an Answer."""
        if isinstance(value, Mapping):
            return cls({key: cls.of(each) for key, each in value.items()})
        return [cls.of(each) for each in value] if isinstance(value, list) else value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"The answer has no field '{name}'. {did_you_mean(name, self) or ''}".strip()
            ) from None

    def model_dump(self) -> dict[str, Any]:
        """The same without attributes."""
        return {key: _plain(each) for key, each in self.items()}


def wants_json(file: PromptyFile) -> bool:
    """Whether its answer is read as JSON."""
    if file.dialect is Dialect.SECOND:
        return bool(file.outputs)
    form = file.parameters.get("response_format")
    return isinstance(form, Mapping) and form.get("type") == "json_object"


def result_of(file: PromptyFile, answer: dict[str, Any]) -> Any:
    """What calling the prompty gives, from a whole answer. Raises AnswerFormatError."""
    if file.response == "all":
        return Answer.of(answer)
    if file.api == "embedding":
        vectors = [each["embedding"] for each in answer["data"]]
        return vectors[0] if len(vectors) == 1 else vectors
    choice = answer["choices"][0]
    if file.api == "completion":
        return text_result(file, choice.get("text", ""))
    message = choice.get("message") or {}
    if file.dialect is Dialect.SECOND:
        return _second_result(file, message)
    if choice.get("finish_reason") in _CALLING:
        return {**dict.fromkeys(_MESSAGE), **message}
    return text_result(file, message.get("content"))


def _second_result(file: PromptyFile, message: Mapping[str, Any]) -> Any:
    """Calls of tools before anything else; a refusal is a text."""
    calls = message.get("tool_calls")
    if calls:
        return [
            {
                "id": each.get("id"),
                "name": each["function"]["name"],
                "arguments": each["function"]["arguments"],
            }
            for each in calls
        ]
    if message.get("refusal") and not message.get("content"):
        return message["refusal"]
    return text_result(file, message.get("content") or "")


def text_result(file: PromptyFile, text: str | None) -> Any:
    """What a prompty makes of the answer's text. Raises AnswerFormatError."""
    if not wants_json(file):
        return text
    asks = "outputs" if file.dialect is Dialect.SECOND else "response_format"
    try:
        found = json.loads(text or "")
    except ValueError:
        raise AnswerFormatError(
            f"The answer to '{file.name}' is not JSON, which its {asks} asks for.",
            hint="Say in the prompt which JSON is wanted, or raise max_tokens if the answer was cut off.",
        ) from None
    return _reduced(file.name, file.outputs, found) if file.outputs else found


def _reduced(name: str, outputs: Sequence[str], found: Any) -> dict[str, Any]:
    missing = [key for key in outputs if not isinstance(found, dict) or key not in found]
    if missing:
        raise AnswerFormatError(
            f"The answer to '{name}' lacks {', '.join(map(repr, missing))} of its outputs.",
            hint="Say in the prompt which keys are wanted, or take them out of outputs.",
        )
    return {key: found[key] for key in outputs}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
