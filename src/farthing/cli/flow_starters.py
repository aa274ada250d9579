"""Small flows to begin with; `farthing flow new` and `farthing pf flow init` write them."""

from __future__ import annotations

from pathlib import Path

from farthing.core.errors import FlowError

_HEAD = "$schema: https://azuremlschemas.azureedge.net/promptflow/latest/Flow.schema.json\n"

# Inputs have no defaults: a default would count before a column of the data of the same name.
_ASK_DAG = (
    _HEAD
    + """inputs:
  question:
    type: string
outputs:
  answer:
    type: string
    reference: ${tidy.output}
nodes:
- name: ask
  type: llm
  api: chat
  source:
    type: code
    path: ask.jinja2
  inputs:
    question: ${inputs.question}
    deployment_name: <model>
    temperature: 0
    max_tokens: 256
- name: tidy
  type: python
  source:
    type: code
    path: tidy.py
  inputs:
    text: ${ask.output}
"""
)
_ASK_PROMPT = """system:
You answer in one or two short sentences.

user:
{{question}}
"""
_TIDY = """from promptflow.core import tool


@tool
def tidy(text: str) -> str:
    return " ".join(text.split())
"""
_CHAT_DAG = (
    _HEAD
    + """inputs:
  chat_history:
    type: list
    is_chat_history: true
    default: []
  question:
    type: string
    is_chat_input: true
outputs:
  answer:
    type: string
    reference: ${chat.output}
    is_chat_output: true
nodes:
- name: chat
  type: llm
  api: chat
  source:
    type: code
    path: chat.jinja2
  inputs:
    chat_history: ${inputs.chat_history}
    question: ${inputs.question}
    deployment_name: <model>
    max_tokens: 512
"""
)
_CHAT_PROMPT = """system:
You are helpful and brief.

{% for turn in chat_history %}
user:
{{turn.inputs.question}}
assistant:
{{turn.outputs.answer}}
{% endfor %}

user:
{{question}}
"""
_EVALUATION_DAG = (
    _HEAD
    + """inputs:
  answer:
    type: string
  truth:
    type: string
outputs:
  grade:
    type: string
    reference: ${grade.output}
nodes:
- name: grade
  type: python
  source:
    type: code
    path: grade.py
  inputs:
    answer: ${inputs.answer}
    truth: ${inputs.truth}
- name: accuracy
  type: python
  aggregation: true
  source:
    type: code
    path: accuracy.py
  inputs:
    grades: ${grade.output}
"""
)
_GRADE = """from promptflow.core import tool


@tool
def grade(answer: str, truth: str) -> str:
    return "Correct" if answer.strip().lower() == truth.strip().lower() else "Incorrect"
"""
_ACCURACY = """from promptflow.core import log_metric, tool


@tool
def accuracy(grades: list) -> float:
    share = sum(grade == "Correct" for grade in grades) / len(grades) if grades else 0.0
    log_metric("accuracy", share)
    return share
"""
_PROMPTY = """---
name: Ask
description: Answers one question.
model:
  api: chat
  configuration:
    type: azure_openai
    azure_deployment: <model>
  parameters:
    max_tokens: 256
    temperature: 0
inputs:
  question:
    type: string
sample:
  question: What is a farthing?
---
system:
You answer in one or two short sentences.

user:
{{question}}
"""
_FLEX_YAML = """$schema: https://azuremlschemas.azureedge.net/promptflow/latest/Flow.schema.json
entry: flow:Asker
sample:
  inputs:
    question: What is a farthing?
"""
_FLEX = """from pathlib import Path

from promptflow.core import Prompty
from promptflow.tracing import trace

FOLDER = Path(__file__).parent


class Asker:
    def __init__(self, tone: str = "friendly") -> None:
        self.tone = tone

    @trace
    def __call__(self, question: str = "What is a farthing?") -> str:
        ask = Prompty.load(source=FOLDER / "ask.prompty")
        return ask(question=f"{question} Answer in a {self.tone} tone.")
"""
_ASK_DATA = """{"question": "What is a farthing?"}
{"question": "How many farthings make a penny?"}
{"question": "When did the farthing end?"}
"""

_STARTERS: dict[str, dict[str, str]] = {
    "standard": {
        "flow.dag.yaml": _ASK_DAG,
        "ask.jinja2": _ASK_PROMPT,
        "tidy.py": _TIDY,
        "data.jsonl": _ASK_DATA,
    },
    "chat": {"flow.dag.yaml": _CHAT_DAG, "chat.jinja2": _CHAT_PROMPT},
    "evaluation": {
        "flow.dag.yaml": _EVALUATION_DAG,
        "grade.py": _GRADE,
        "accuracy.py": _ACCURACY,
        "data.jsonl": '{"answer": "Paris", "truth": "paris"}\n{"answer": "Rome", "truth": "Bern"}\n',
    },
    "flex": {
        "flow.flex.yaml": _FLEX_YAML,
        "flow.py": _FLEX,
        "ask.prompty": _PROMPTY,
        "data.jsonl": _ASK_DATA,
    },
    "prompty": {"ask.prompty": _PROMPTY, "data.jsonl": _ASK_DATA},
}


def how_to_try(folder: Path, kind: str) -> str:
    """What to write behind `flow test` to try a starter."""
    if kind == "chat":
        return f"{folder} --interactive"
    what = folder / "ask.prompty" if kind == "prompty" else folder
    return f"{what} --inputs {folder / 'data.jsonl'}"


def write_starter(
    folder: Path, kind: str, model: str, *, into_existing: bool = False
) -> list[Path]:
    """Write the flow of that kind; the files come back. Raises FlowError rather than overwrite a file."""
    files = {folder / name: text for name, text in _STARTERS[kind].items()}
    taken = [file for file in files if file.exists()]
    if taken or (folder.exists() and not into_existing):
        raise FlowError(
            f"{taken[0] if taken else folder} is there already.",
            hint="Name a new folder; nothing was written.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            file.write_text(text.replace("<model>", model), encoding="utf-8")
    except OSError as error:
        raise FlowError(
            f"{folder} cannot be written: {error.strerror}.", hint="Name another folder."
        ) from error
    return list(files)
