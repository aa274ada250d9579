"""A `flow.dag.yaml` that is changed and written back: comments, the order of keys and quotes stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import ScalarString

from farthing.core.errors import FlowFormatError, did_you_mean
from farthing.flows import yaml
from farthing.flows.dag import format as dag
from farthing.flows.dag.patch import patched
from farthing.flows.graph import Flow
from farthing.flows.references import NodeReference, parse

#: The node that a variant changes, and the variant.
Variant = tuple[str, str]


class Editor:
    """A graph's file, open for changes. Nothing is written before `save`.

    Nodes are named as in the file; `variant` means the node's body of that id, without it a node with
    variants is changed in its default one. All raise FlowFormatError for what is not there.
    """

    def __init__(self, path: Path) -> None:
        """path: of the file, or its folder. Raises FlowFormatError: a file that is not YAML."""
        self.file = path / dag.FILE if path.is_dir() else path
        self.document = yaml.read(self.file)
        wire = self.file.read_bytes()
        self._has_mark = wire.startswith(b"\xef\xbb\xbf")
        self._original = wire.decode("utf-8-sig")

    # --- inputs and outputs ---

    def set_input(self, name: str, **fields: Any) -> None:
        """Add an input, or change some fields of it, e.g. `type="int", default=2`. None takes one away."""
        _change(_below(_below(self.document, "inputs"), name), fields)

    def remove_input(self, name: str) -> None:
        """Take an input away; what refers to it is told by `check`."""
        self._remove("inputs", name)

    def set_output(self, name: str, reference: str, **fields: Any) -> None:
        """Add an output, or change what it refers to."""
        outputs = _below(self.document, "outputs")
        fresh = {"type": "string"} if name not in outputs else {}
        _change(_below(outputs, name), {**fresh, **fields, "reference": reference})

    def remove_output(self, name: str) -> None:
        """Take an output away."""
        self._remove("outputs", name)

    # --- nodes ---

    def set_node_input(
        self, node: str, name: str, value: Any, *, variant: str | None = None
    ) -> None:
        """Give an input of a node a literal or a `${reference}`."""
        _set(_below(self._body(node, variant), "inputs"), name, value)

    def remove_node_input(self, node: str, name: str, *, variant: str | None = None) -> None:
        """Take an input of a node away."""
        inputs = _below(self._body(node, variant), "inputs")
        if name not in inputs:
            raise self._none(f"The node '{node}' has no input", name, inputs)
        del inputs[name]

    def set_node(self, node: str, *, variant: str | None = None, **fields: Any) -> None:
        """Change fields of a node: connection, api, provider, activate, aggregation, … None takes one away."""
        _change(self._body(node, variant), fields)

    def set_source(self, node: str, path: str, *, variant: str | None = None) -> None:
        """Name another file: a prompt's template, a node's Python."""
        source = _below(self._body(node, variant), "source")
        if "type" not in source:
            source["type"] = "code"
        _set(source, "path", path)

    def add_node(self, node: Mapping[str, Any]) -> None:
        """Add a node behind the others. node: as in the file, with name, type, source and inputs."""
        name = node.get("name")
        if not name or name in self._names():
            raise FlowFormatError(
                f"There is a node '{name}' already." if name else "The new node has no name.",
                hint="Give it a name of its own.",
                path=str(self.file),
            )
        if self.document.get("nodes") is None:
            self.document["nodes"] = CommentedSeq()
        self.document["nodes"].append(_made(node))

    def remove_node(self, node: str) -> None:
        """Take a node and its variants away; what refers to it is told by `check`."""
        del self.document["nodes"][self._names().index(self._known(node))]
        if self._has_variants(node):
            self._remove("node_variants", node)

    def rename_node(self, node: str, name: str) -> None:
        """Another name for a node, and in whatever refers to it."""
        if name in self._names():
            raise FlowFormatError(
                f"There is a node '{name}' already.",
                hint="Give it a name of its own.",
                path=str(self.file),
            )
        _set(self.document["nodes"][self._names().index(self._known(node))], "name", name)
        variants = _below(self.document, "node_variants") if self._has_variants(node) else None
        if variants is not None:
            variants.insert(list(variants).index(node), name, variants.pop(node))
        _rename_in(self.document, node, name)

    # --- variants ---

    def add_variant(self, node: str, variant: str, **fields: Any) -> None:
        """A copy of the node's default body with some fields changed; a node without variants gets its first.

        The body that the node had becomes its default variant `variant_0`.
        """
        listed = self.document["nodes"][self._names().index(self._known(node))]
        choice = (self.document.get("node_variants") or {}).get(node)
        if choice is None:
            body = CommentedMap((key, listed.pop(key)) for key in list(listed) if key != "name")
            listed["use_variants"] = True
            choice = CommentedMap(default_variant_id="variant_0")
            choice["variants"] = CommentedMap(variant_0=CommentedMap(node=body))
            _below(self.document, "node_variants")[node] = choice
        if variant in choice["variants"]:
            raise FlowFormatError(
                f"The node '{node}' has a variant '{variant}' already.",
                hint="Give it another name.",
                node=node,
                path=str(self.file),
            )
        fresh = _made(yaml.plain(self._body(node, None)))
        _change(fresh, fields)
        choice["variants"][variant] = CommentedMap(node=fresh)

    def set_default_variant(self, node: str, variant: str) -> None:
        """Which of a node's variants runs unless another is asked for."""
        self._body(node, variant)
        _set(self.document["node_variants"][node], "default_variant_id", variant)

    # --- the whole ---

    def check(self) -> Flow:
        """The flow as it now stands. Raises FlowFormatError, with the lines of the file that was read."""
        return dag.from_document(self.document, self.file)

    def save(self, path: Path | None = None) -> Path:
        """Write it, to its own file unless `path` says another; all of it or nothing. A wrong flow is refused."""
        self.check()
        target = path or self.file
        beside = target.with_name(f".{target.name}.new")
        beside.write_bytes(self._text().encode("utf-8-sig" if self._has_mark else "utf-8"))
        beside.replace(target)
        return target

    # --- within ---

    def _text(self) -> str:
        """The file with the changes, laid out as it was."""
        original = self._original.replace("\r\n", "\n")
        unchanged = yaml.parse(original, str(self.file))
        # In the list of nodes, and so in the file's others, the dashes stand below the key or further in.
        nodes = unchanged.get("nodes")
        is_in = isinstance(nodes, CommentedSeq) and bool(nodes) and nodes.lc.item(0)[1] > 2
        before = yaml.text_of(unchanged, has_indented_lists=is_in)
        after = yaml.text_of(self.document, has_indented_lists=is_in)
        text = patched(original, before, after)
        if not self._says_the_same(text):
            text = after  # lists are laid out in more than one way
        return text.replace("\n", "\r\n") if "\r\n" in self._original else text

    def _says_the_same(self, text: str) -> bool:
        try:
            return bool(yaml.plain(yaml.parse(text, "")) == yaml.plain(self.document))
        except FlowFormatError:
            return False

    def _names(self) -> list[str]:
        return [str(each.get("name")) for each in self.document.get("nodes") or []]

    def _has_variants(self, node: str) -> bool:
        return node in (self.document.get("node_variants") or {})

    def _known(self, node: str) -> str:
        if node not in self._names():
            raise self._none("The flow has no node", node, self._names())
        return node

    def _body(self, node: str, variant: str | None) -> CommentedMap:
        listed = self.document["nodes"][self._names().index(self._known(node))]
        if variant is None and not listed.get("use_variants"):
            return listed  # type: ignore[no-any-return]  # ruamel has no types for what it keeps
        choice = (self.document.get("node_variants") or {}).get(node)
        if choice is None:
            raise self._none("There are no variants of the node", node, [])
        wanted = variant or choice.get("default_variant_id")
        if wanted not in choice["variants"]:
            raise self._none(f"The node '{node}' has no variant", str(wanted), choice["variants"])
        return _below(choice["variants"][wanted], "node")

    def _remove(self, section: str, name: str) -> None:
        table = self.document.get(section) or {}
        if name not in table:
            raise self._none(f"There is nothing in {section} called", name, table)
        del table[name]

    def _none(self, what: str, name: str, known: Any) -> FlowFormatError:
        names = [str(each) for each in known]
        return FlowFormatError(
            f"{what} '{name}'.",
            hint=did_you_mean(name, names) or f"There is: {', '.join(names) or 'none'}.",
            path=str(self.file),
        )


def _below(table: CommentedMap, key: str) -> CommentedMap:
    """The mapping under a key, made when there is none."""
    if table.get(key) is None:
        table[key] = CommentedMap()
    return table[key]  # type: ignore[no-any-return]  # ruamel has no types for what it keeps


def _change(table: CommentedMap, fields: Mapping[str, Any]) -> None:
    for key, value in fields.items():
        if value is None:
            table.pop(key, None)
        else:
            _set(table, key, value)


def _set(table: CommentedMap, key: str, value: Any) -> None:
    """Set a value in the quotes that stood around the one before it."""
    old = table.get(key)
    if isinstance(old, ScalarString) and isinstance(value, str) and type(old) is not type(value):
        value = type(old)(value)
    table[key] = _made(value)


def _made(value: Any) -> Any:
    if isinstance(value, Mapping) and not isinstance(value, CommentedMap):
        return CommentedMap((key, _made(each)) for key, each in value.items())
    if isinstance(value, list | tuple) and not isinstance(value, CommentedSeq):
        return CommentedSeq(_made(each) for each in value)
    return value


def _rename_in(value: Any, node: str, name: str) -> None:
    """Let whatever refers to `node` below here refer to `name`."""
    places = value.items() if isinstance(value, CommentedMap) else enumerate(value)
    for key, each in list(places):
        if isinstance(each, CommentedMap | CommentedSeq):
            _rename_in(each, node, name)
        elif isinstance(each, str):
            try:
                reference = parse(each)
            except FlowFormatError:
                continue
            if isinstance(reference, NodeReference) and reference.node == node:
                at = each.index(node)
                renamed = f"{each[:at]}{name}{each[at + len(node) :]}"
                value[key] = type(each)(renamed) if isinstance(each, ScalarString) else renamed
