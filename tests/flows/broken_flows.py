"""A flow project, and the mistakes that people make in one: what was changed, and what is to be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GRAPH = "graph/flow.dag.yaml"
FLEX = "flex/flow.flex.yaml"
PROMPTY = "chat.prompty"
SECOND = "second.prompty"
PREPARE = "graph/prepare.py"
FINISH = "graph/finish.py"

_NODE_FILE = "from promptflow.core import tool\n\n\n@tool\n"
PROJECT = {
    GRAPH: """inputs:
  question:
    type: string
  times:
    type: int
    default: 2
outputs:
  answer:
    type: string
    reference: ${finish.output.text}
nodes:
- name: prepare
  type: python
  source:
    type: code
    path: prepare.py
  inputs:
    question: ${inputs.question}
    times: ${inputs.times}
    mark: "?"
- name: ask
  type: llm
  source:
    type: code
    path: ask.jinja2
  inputs:
    deployment_name: sim/small
    max_tokens: 50
    question: ${prepare.output}
  connection: main
  api: chat
- name: shorten
  use_variants: true
- name: finish
  type: python
  source:
    type: code
    path: finish.py
  inputs:
    connection: main
    answer: ${shorten.output}
    limit: 80
  activate:
    when: ${inputs.times}
    is: 2
- name: count
  type: python
  aggregation: true
  source:
    type: code
    path: count.py
  inputs:
    answers: ${finish.output}
node_variants:
  shorten:
    default_variant_id: first
    variants:
      first:
        node:
          type: prompt
          source:
            type: code
            path: short.jinja2
          inputs:
            answer: ${ask.output}
      second:
        node:
          type: prompt
          source:
            type: code
            path: long.jinja2
          inputs:
            answer: ${ask.output}
environment_variables:
  TEST_BROKEN_FLOW: set
""",
    "graph/ask.jinja2": "system:\nBe brief.\nuser:\n{{question}}\n",
    "graph/short.jinja2": "{{answer}}\n",
    "graph/long.jinja2": "So: {{answer}}\n",
    PREPARE: _NODE_FILE
    + "def prepare(question: str, times: int, mark: str):\n    return (question + mark) * times\n",
    FINISH: (
        "from promptflow.connections import AzureOpenAIConnection\n"
        + _NODE_FILE
        + "def finish(connection: AzureOpenAIConnection, answer: str, limit: int = 100):\n"
        "    return {'text': answer[:limit]}\n"
    ),
    "graph/count.py": _NODE_FILE + "def count(answers: list):\n    return len(answers)\n",
    FLEX: """entry: answer:Answer
inputs:
  question:
    type: string
  times:
    type: int
    default: 2
init:
  mark:
    type: string
    default: "?"
""",
    "flex/answer.py": (
        "class Answer:\n    def __init__(self, mark: str = '!'):\n        self.mark = mark\n\n"
        "    def __call__(self, question: str, times: int = 1) -> str:\n"
        "        return (question + self.mark) * times\n"
    ),
    PROMPTY: """---
name: Chat
model:
  api: chat
  configuration:
    type: azure_openai
    azure_deployment: sim/small
  parameters:
    max_tokens: 50
inputs:
  question:
    type: string
---
system:
Be brief.
user:
{{question}}
""",
    SECOND: """---
name: Second
model:
  id: sim/small
  provider: openai
  apiType: chat
  options:
    temperature: 0.2
inputs:
  - name: question
    kind: string
    default: Why?
tools:
  - name: look_up
    kind: function
    description: Look a word up
    parameters:
      - {name: word, kind: string, required: true}
template:
  format:
    kind: jinja2
  parser: prompty
---
system:
Be brief.
user:
{{question}}
""",
}


@dataclass(frozen=True)
class Slip:
    """One mistake. change: by file, what stood there and what stands there now; without the first, all of it.

    at: a text on the line that is named; "" where no line can be. file: the one that is named. node, field:
    what the error carries. near: what the hint offers. gone: files that are not there. given: how to open
    and what to run, where it is not the whole project.
    """

    did: str
    change: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    at: str = ""
    file: str = GRAPH
    node: str | None = None
    field: str | None = None
    near: str = ""
    says: str = ""
    gone: tuple[str, ...] = ()
    path: str = "graph"
    variant: str | None = None
    init: dict[str, object] | None = None
    inputs: dict[str, object] | None = None


def broken(folder: Path, slip: Slip) -> Path:
    """The project with one mistake in it. Returns the path to open."""
    for name, good in PROJECT.items():
        text = good
        for old, new in slip.change.get(name, ()):
            assert not old or text.count(old) == 1, f"{old!r} must stand once in {name}"
            text = text.replace(old, new) if old else new
        if name not in slip.gone:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    for name in set(slip.change) - set(PROJECT):
        (folder / name).write_text(slip.change[name][0][1], encoding="utf-8")
    return folder / slip.path


def _graph(did: str, old: str, new: str, at: str, near: str = "", **more: object) -> Slip:
    """A mistake in flow.dag.yaml."""
    change = {GRAPH: ((old, new),)}
    return Slip(did, change, at, near=near, **more)  # type: ignore[arg-type]  # fields by their names


def _file(did: str, file: str, old: str, new: str, at: str, near: str = "", **more: object) -> Slip:
    """A mistake in another file, which the error names."""
    change = {file: ((old, new),)}
    return Slip(did, change, at, file=file, near=near, **more)  # type: ignore[arg-type]  # as above


def _flex(did: str, old: str, new: str, at: str, near: str = "", **more: object) -> Slip:
    return _file(did, FLEX, old, new, at, near, path="flex", **more)


def _prompty(did: str, old: str, new: str, at: str, near: str = "", **more: object) -> Slip:
    return _file(did, PROMPTY, old, new, at, near, path=PROMPTY, **more)


def _second(did: str, old: str, new: str, at: str, near: str = "", **more: object) -> Slip:
    return _file(did, SECOND, old, new, at, near, path=SECOND, **more)


_DOCUMENTS = [
    _graph("left a bracket open", "    type: int\n", "    type: [int\n", "default: 2", "indentation"),
    _graph("indented with a tab", "    type: int\n", "\ttype: int\n", "\ttype: int", "indentation"),
    _graph("wrote the same key twice", "inputs:\n  question:\n", "outputs: {}\ninputs:\n  question:\n",
           "outputs:\n", "indentation"),
    _graph("left the file empty", "", "", "", "begins with keys"),
    _graph("wrote a list as the file", "", "- name: a\n", "", "begins with keys"),
    _graph("wrote a text as the file", "", "hello\n", "", "begins with keys"),
    _graph("wrote a list of inputs",
           "inputs:\n  question:\n    type: string\n  times:\n    type: int\n    default: 2\n",
           "inputs:\n- question\n", "- question", says="is a list"),
    _graph("wrote an input as a word", "  question:\n    type: string\n", "  question: string\n",
           "question: string", says="is a str"),
    _graph("wrote nodes as a mapping", "nodes:\n- name: prepare\n  type: python\n",
           "nodes:\n  name: prepare\nx:\n- type: python\n", "  name: prepare", field="nodes"),
    _graph("wrote a node as a word", "nodes:\n", "nodes:\n- prepare\n", "- prepare", says="is a str"),
    _graph("wrote it in C#", "inputs:\n  question:\n", "language: csharp\ninputs:\n  question:\n",
           "language", "Port its tools", field="language"),
    _graph("gave the type of an input a list", "    type: int\n", "    type: [int]\n", "[int]",
           field="type"),
    _graph("wrote a word as a whole number's default", "default: 2", "default: two", "default: two",
           "whole number", field="default"),
    _graph("wrote a word as a list's default", "    type: int\n    default: 2", "    type: list\n    default: two",
           "default: two", "list in JSON", field="default"),
    _graph("misspelled the message format", "nodes:\n", "message_format: openai-visoin\nnodes:\n",
           "openai-visoin", "openai-vision", field="message_format"),
    _graph("wrote environment variables as a list", "environment_variables:\n  TEST_BROKEN_FLOW: set",
           "environment_variables:\n- TEST_BROKEN_FLOW", "- TEST_BROKEN_FLOW", says="is a list"),
    _graph("took a variable from a connection that has no such field", "TEST_BROKEN_FLOW: set",
           "TEST_BROKEN_FLOW: ${main.api_bse}", "", "api_base", field="environment_variables.TEST_BROKEN_FLOW"),
]  # fmt: skip

_NODES = [
    _graph("gave a node no name", "- name: prepare\n  type: python", "- type: python", "- type: python",
           "name of its own"),
    _graph("misspelled the key name", "- name: prepare\n", "- nmae: prepare\n", "nmae", "name"),
    _graph("gave two nodes one name", "- name: count\n", "- name: ask\n", "- name: ask\n  type: python",
           "Rename", node="ask", field="name"),
    _graph("misspelled a node's type", "- name: prepare\n  type: python", "- name: prepare\n  type: pyhton",
           "pyhton", "python", node="prepare", field="type"),
    _graph("left a node's type out", "- name: ask\n  type: llm\n", "- name: ask\n", "- name: ask",
           "llm", node="ask", field="type"),
    _graph("left a node's source out", "  source:\n    type: code\n    path: prepare.py\n", "",
           "- name: prepare", "type: code", node="prepare"),
    _graph("wrote a source as a word", "  source:\n    type: code\n    path: prepare.py\n",
           "  source: prepare.py\n", "source: prepare.py", node="prepare"),
    _graph("left a source's path out", "    path: prepare.py\n", "", "    type: code\n  inputs", "Name the file",
           node="prepare", field="path"),
    _graph("misspelled a source's type", "    type: code\n    path: prepare.py", "    type: cod\n    path: prepare.py",
           "type: cod\n", "code", node="prepare", field="type"),
    _graph("named a package tool by no name", "    type: code\n    path: prepare.py", "    type: package",
           "    type: package", "package.module.function", node="prepare", field="tool"),
    _graph("misspelled a Python file", "path: prepare.py", "path: perpare.py", "perpare.py", "prepare.py",
           node="prepare", field="path"),
    _graph("misspelled a template", "path: ask.jinja2", "path: aks.jinja2", "aks.jinja2", "ask.jinja2",
           node="ask", field="path"),
    _graph("misspelled a template of a variant", "path: long.jinja2", "path: lnog.jinja2", "lnog.jinja2",
           "long.jinja2", node="shorten", field="path"),
    Slip("forgot to bring a Python file", gone=("graph/count.py",), at="path: count.py",
         near="relative to", node="count", field="path"),
    _graph("wrote a node's inputs as a list", "  inputs:\n    answers: ${finish.output}\n",
           "  inputs:\n  - ${finish.output}\n", "- ${finish.output}", node="count"),
    _graph("misspelled the API", "api: chat", "api: chatt", "chatt", "chat", node="ask", field="api"),
    _graph("misspelled the provider", "  api: chat", "  api: chat\n  provider: AzureOpenAi", "AzureOpenAi\n",
           "AzureOpenAI", node="ask", field="provider"),
    _graph("wrote yes for aggregation", "aggregation: true", "aggregation: yes please",
           "yes please", "true or false", node="count", field="aggregation"),
    _graph("left a condition's is out", "    is: 2\n", "", "    when:", "Write both", node="finish"),
    _graph("left a condition's when out", "    when: ${inputs.times}\n", "", "    is: 2", "Write both",
           node="finish"),
    _graph("wrote a condition as a word", "  activate:\n    when: ${inputs.times}\n    is: 2\n",
           "  activate: always\n", "always", node="finish"),
    _graph("named a package tool that is nowhere", "    type: code\n    path: prepare.py",
           "    type: package\n    tool: promptflow.tools.serpapi.SerpAPI.serch", "- name: prepare", "SerpAPI.search",
           node="prepare", field="source.tool"),
]  # fmt: skip

_REFERENCES = [
    _graph("misspelled an input in a reference", "question: ${inputs.question}", "question: ${inputs.qestion}",
           "qestion", "question", node="prepare", field="question"),
    _graph("misspelled a node in a reference", "question: ${prepare.output}", "question: ${perpare.output}",
           "perpare.output", "prepare", node="ask", field="question"),
    _graph("misspelled output in a reference", "question: ${prepare.output}", "question: ${prepare.ouput}",
           "prepare.ouput", "${prepare.output}", node="ask", field="inputs.question"),
    _graph("wrote a path that cannot be read", "question: ${prepare.output}", "question: ${prepare.output[x]}",
           "output[x]", "[0]", node="ask", field="inputs.question"),
    _graph("misspelled a node in an output", "reference: ${finish.output.text}", "reference: ${finsh.output.text}",
           "finsh", "finish", field="answer"),
    _graph("misspelled an input in an output", "reference: ${finish.output.text}", "reference: ${inputs.qestion}",
           "qestion", "question", field="answer"),
    _graph("left an output's reference out", "    reference: ${finish.output.text}\n", "", "    type: string\nnodes",
           "reference: ${node.output}", field="reference"),
    _graph("misspelled an input in a condition", "when: ${inputs.times}", "when: ${inputs.tims}",
           "inputs.tims", "times", node="finish", field="activate.when"),
    _graph("misspelled a node in a condition", "when: ${inputs.times}", "when: ${akn.output}",
           "akn", "ask", node="finish", field="activate.when"),
    _graph("misspelled a node in a variant", "path: short.jinja2\n          inputs:\n            answer: ${ask.output}",
           "path: short.jinja2\n          inputs:\n            answer: ${aks.output}", "aks.output", "ask",
           node="shorten", field="answer"),
    _graph("let a node wait for itself", "question: ${prepare.output}", "question: ${ask.output}",
           "- name: ask", "Break the circle", node="ask"),
    _graph("let two nodes wait for each other", "question: ${inputs.question}", "question: ${ask.output}",
           "- name: prepare", "Break the circle", node="prepare"),
    _graph("let a node wait for one behind all lines", "question: ${prepare.output}", "question: ${count.output}",
           "question: ${count.output}", "aggregation: true", node="ask", field="question"),
    _graph("renamed a node and not what refers to it", "- name: prepare\n", "- name: prepared\n",
           "question: ${prepare.output}", "prepared", node="ask", field="question"),
]  # fmt: skip

_VARIANTS = [
    _graph("left the default variant out", "    default_variant_id: first\n", "", "    variants:", "first, second",
           node="shorten", field="default_variant_id"),
    _graph("misspelled the default variant", "default_variant_id: first", "default_variant_id: frist",
           "frist", "first", node="shorten", field="default_variant_id"),
    _graph("misspelled the node of variants", "  shorten:\n", "  shroten:\n", "  use_variants: true", "shroten",
           field="use_variants"),
    _graph("left a variant's node out", "      second:\n        node:\n", "      second:\n        nod:\n",
           "        nod:", "under node:", node="shorten"),
    Slip("asked for a variant that is not there", variant="${shorten.secnd}", near="second", node="shorten",
         at="          type: prompt"),
    Slip("asked for a variant of a node that is not there", variant="${shroten.first}", near="shorten",
         node="shroten", file=""),
    Slip("asked for a variant of a node that has none", variant="${ask.first}", near="node_variants", node="ask",
         at="- name: ask"),
    Slip("asked for a variant without a node", variant="second", near="${node.variant}", file=""),
]  # fmt: skip

_FUNCTIONS = [
    _graph("misspelled a parameter in a node's inputs", '    mark: "?"', '    mrak: "?"', "mrak", "mark",
           node="prepare", field="inputs.mrak"),
    _graph("left a parameter out of a node's inputs", '    mark: "?"\n', "", "- name: prepare", "Add it",
           node="prepare", field="inputs.mark"),
    _graph("wrote a word for a whole number", "limit: 80", "limit: eighty", "eighty", "whole number",
           node="finish", field="inputs.limit"),
    _graph("gave a connection a number as its name", "    connection: main\n    answer",
           "    connection: 7\n    answer",
           "connection: 7", "name of one", node="finish", field="inputs.connection"),
    _graph("misspelled a connection", "    connection: main\n    answer", "    connection: mian\n    answer",
           "", "main", node="finish", file=""),
    _graph("named a connection of another type", "    connection: main\n    answer",
           "    connection: other\n    answer", "connection: other", "right type", node="finish",
           field="inputs.connection"),
    _graph("named a connection that serves no models", "  connection: main\n  api", "  connection: search\n  api",
           "- name: ask", "azure_open_ai", node="ask", field="connection"),
    _file("forgot a colon in a Python file", PREPARE, "mark: str):", "mark: str)", "def prepare",
          node="prepare"),
    _file("indented a Python file wrongly", PREPARE, "    return", "  x = 1\n    return", "    return",
          node="prepare"),
    _file("forgot @tool", PREPARE, "@tool\n", "", "", "@tool", node="prepare"),
    _file("wrote two functions with @tool", PREPARE, "@tool\n", "@tool\ndef other():\n    pass\n\n\n@tool\n", "",
          "Keep one", node="prepare"),
    _file("imported a package that is not installed", PREPARE, "from promptflow.core import tool\n",
          "from promptflow.core import tool\nimport no_such_package_9\n", "no_such_package_9",
          "pip install no_such_package_9", node="prepare"),
    _file("imported a name that is not there", PREPARE, "import tool\n", "import tool\nfrom math import sine\n",
          "sine", node="prepare"),
    _file("divided by nothing while importing", FINISH, "import tool\n", "import tool\nRATE = 1 / 0\n", "1 / 0",
          node="finish"),
    _file("named a file that is no Python", PREPARE, "", "Hello there, this is text.\n", "Hello", node="prepare"),
]  # fmt: skip

_FLEX_FLOWS = [
    _flex("left the entry out", "entry: answer:Answer\n", "", "", "module:function"),
    _flex("misspelled the key entry", "entry: answer", "entyr: answer", "entyr", "entry"),
    _flex("wrote an entry without a colon", "answer:Answer", "answer.Answer", "answer.Answer", "module:function",
          field="entry"),
    _flex("misspelled the module of the entry", "answer:Answer", "anwser:Answer", "anwser", "answer", field="entry"),
    _flex("misspelled the class of the entry", "answer:Answer", "answer:Anwser", "Anwser", "Answer", field="entry"),
    _flex("wrote nodes into a flex flow", "inputs:\n", "nodes: []\ninputs:\n", "nodes", "flow.dag.yaml",
          field="nodes"),
    _flex("wrote a flex flow in C#", "inputs:\n", "language: csharp\ninputs:\n", "csharp", "Python", field="language"),
    _flex("wrote a word as a default", "default: 2", "default: two", "    type: int\n    default: two",
          "whole number", field="times"),
    _flex("left a bracket open in a flex flow", "    type: int\n", "    type: [int\n", "default: 2", "indentation"),
    Slip("misspelled an init value", path="flex", init={"mrak": "!"}, near="mark", file="", field="mrak"),
    _file("wrote a syntax error in the entry's file", "flex/answer.py", "class Answer:", "class Answer", "class Answer",
          path="flex"),
]  # fmt: skip

_PROMPTIES = [
    _prompty("left the front matter open", "    type: string\n---\n", "    type: string\n", "---\n", "Begin with ---"),
    _prompty("wrote no front matter", "", "Hello\n", "Hello", "Begin with ---"),
    _prompty("broke the YAML of the front matter", "  api: chat", "  api: [chat", "  configuration", "indentation"),
    _prompty("misspelled a key below model", "  parameters:", "  paramters:", "    max_tokens", "parameters",
             field="model.paramters"),
    _prompty("misspelled the api of a prompty", "api: chat", "api: chatt", "chatt", "chat", field="model.api"),
    _prompty("wrote inputs of a prompty as a list of words", "inputs:\n  question:\n    type: string\n",
             "inputs:\n- question\n", "- question", "- name:", field="inputs[0]"),
    _second("misspelled an option of a model", "temperature: 0.2", "temprature: 0.2", "temprature", "temperature",
            field="model.options.temprature"),
    _second("misspelled a key below model in a prompty of version 2", "  provider: openai", "  provder: openai",
            "provder", "provider", field="model.provder"),
    _second("asked a model for images", "apiType: chat", "apiType: image", "apiType: image", "chat",
            field="model.apiType"),
    _second("misspelled the kind of an input", "    kind: string\n", "    kind: strng\n", "kind: strng", "string",
            field="inputs[0].kind"),
    _second("misspelled a key of an input", "    default: Why?", "    defualt: Why?", "defualt", "default",
            field="inputs[0].defualt"),
    _second("wrote a template in mustache", "kind: jinja2", "kind: mustache", "kind: mustache", "jinja2",
            field="template.format.kind"),
    _second("named a parser that is not there", "parser: prompty", "parser: chatml", "chatml", "prompty",
            field="template.parser"),
    _second("gave a model a tool that is no function", "kind: function", "kind: mcp", "kind: mcp", "function",
            field="tools[0].kind"),
    _second("misspelled a key of a tool", "    description: Look", "    descripton: Look", "descripton", "description",
            field="tools[0].descripton"),
    _second("named an environment variable that is not set", "id: sim/small", "id: ${env:NO_SUCH_MODEL}",
            "id: ${env", "NO_SUCH_MODEL", field="model.id"),
    _second("named a file outside the prompty's folder", "tools:\n", "sample: ${file:../graph/flow.dag.yaml}\ntools:\n",
            "sample", "beside or below", field="sample"),
    _second("wrote a connection beside a configuration", "  apiType: chat",
            "  apiType: chat\n  connection: {kind: key}\n  configuration: {type: openai}", "  configuration",
            "Keep model.connection", field="model.configuration"),
]  # fmt: skip

_PLACES = [
    Slip("misspelled the folder", path="grpah", file="grpah", near="graph"),
    Slip("named a file that is no flow", path="graph/prepare.py", file="graph/prepare.py", near="@farthing.flow"),
    Slip("named a folder without a flow", {"a.txt": (("", "x"),)}, gone=(GRAPH,), file="graph",
         near="flow.dag.yaml"),
    Slip("gave a graph init values", init={"a": 1}, near="inputs", file=""),
    Slip("gave a flex flow a variant", path="flex", variant="${a.b}", near="flow.dag.yaml", file=""),
    Slip("left an input of the line out", inputs={"times": 1}, near="Given: times", file="", field="question"),
    Slip("gave a word for a whole number", inputs={"question": "a", "times": "two"}, near="whole number",
         file="", field="times"),
]  # fmt: skip

TABLE = [
    *_DOCUMENTS,
    *_NODES,
    *_REFERENCES,
    *_VARIANTS,
    *_FUNCTIONS,
    *_FLEX_FLOWS,
    *_PROMPTIES,
    *_PLACES,
]
