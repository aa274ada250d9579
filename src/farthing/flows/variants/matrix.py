"""Which combinations of variants there are to compare, and how much work they are."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

import msgspec

from farthing.core.errors import FlowFormatError, FlowInputError
from farthing.flows.graph import Flow, Node
from farthing.flows.variants.choices import Choices

#: The label of the cell in which each node has its default variant.
DEFAULT = "default"
#: Each variant of a node.
ALL = "*"
#: `${node.v1,v2}`, `${node.*}`, `${node}`; without the braces too.
_SELECTION = re.compile(r"(?:\$\{([^{}]+)\}|([^${}]+))")

#: By node, the variants of it that take part.
Selection = Mapping[str, tuple[str, ...]]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One combination. choices: of every node that has variants. label: those that are no defaults."""

    choices: dict[str, str]
    label: str


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """The cells to compare, the baseline first. nodes: those that differ between cells."""

    nodes: tuple[str, ...]
    cells: tuple[Cell, ...]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much a matrix is. lines: of the data. calls: of LLM nodes at most, each shared one once.

    calls_alone: the same if each cell ran alone. Calls that Python functions make are not known.
    """

    cells: int
    lines: int
    calls: int
    calls_alone: int

    @property
    def lines_in_all(self) -> int:
        """Of all cells together."""
        return self.cells * self.lines


# --- what is asked for ---


def selected(flow: Flow, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What `${node.v1,v2}` and `${node.*}` choose; without words each variant of each node.

    A node's default variant comes first. Raises FlowFormatError for a node or a variant that there is not,
    FlowInputError.
    """
    if not words:
        return {node: _ordered(flow, node, (ALL,)) for node in varied_nodes(flow)}
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        node, names = _read(word)
        if node in found:
            raise FlowInputError(
                f"The node '{node}' is chosen twice.",
                hint=f"Write its variants into one: '${{{node}.first,second}}'.",
                param="matrix",
            )
        found[node] = _ordered(flow, node, names)
    return found


def varied_nodes(flow: Flow) -> list[str]:
    """The nodes that have variants, as the flow lists them. Raises FlowFormatError: there are none."""
    found = [node.name for node in flow.nodes if _has_variants(flow, node)]
    if not found:
        raise FlowFormatError(
            f"The flow '{flow.name}' has no variants.",
            hint="They stand under node_variants in its file, for nodes with use_variants: true.",
        )
    listed = list(flow.variants)
    return sorted(found, key=listed.index)


def count_of(selection: Selection) -> int:
    """How many cells the product has; without making them."""
    return math.prod(len(variants) for variants in selection.values())


def product(flow: Flow, selection: Selection) -> Matrix:
    """Every combination of the chosen variants. Nodes that are not chosen have their default."""
    nodes = tuple(selection)
    combined = itertools.product(*selection.values())
    cells = tuple(_cell(flow, dict(zip(nodes, each, strict=True))) for each in combined)
    return Matrix(nodes=nodes, cells=cells)


def one_by_one(flow: Flow, selection: Selection) -> Matrix:
    """The defaults, then each chosen variant with the other nodes at their defaults; as prompt flow runs them."""
    cells = [_cell(flow, {})]
    for node, variants in selection.items():
        default = flow.variants[node].default
        cells += [_cell(flow, {node: each}) for each in variants if each != default]
    return Matrix(nodes=tuple(selection), cells=tuple(cells))


def _read(word: str) -> tuple[str, tuple[str, ...]]:
    found = _SELECTION.fullmatch(word.strip())
    node, _, names = (found[1] or found[2]).partition(".") if found is not None else ("", "", "")
    variants = tuple(each.strip() for each in names.split(",") if each.strip()) or (ALL,)
    if not node.strip():
        raise FlowInputError(
            f"'{word[:80]}' chooses no variants.",
            hint="Write '${node.*}' or '${node.first,second}', in single quotes.",
            param="matrix",
        )
    return node.strip(), variants


def _ordered(flow: Flow, node: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The named variants, each once, the default first. Raises FlowFormatError."""
    choice = flow.variants_of(node)
    listed = tuple(choice.nodes) if ALL in names else tuple(dict.fromkeys(names))
    for each in listed:
        flow.with_variants({node: each})
    return tuple(sorted(listed, key=lambda each: each != choice.default))


def _has_variants(flow: Flow, node: Node) -> bool:
    """Whether a listed node takes its body from its variants; one with a body of its own does not."""
    choice = flow.variants.get(node.name)
    return choice is not None and node in choice.nodes.values()


def _cell(flow: Flow, choices: Choices) -> Cell:
    whole = {node: choices.get(node, flow.variants[node].default) for node in varied_nodes(flow)}
    whole.update(choices)
    changed = [f"{n}.{v}" for n, v in whole.items() if v != flow.variants[n].default]
    return Cell(choices=whole, label=",".join(changed) or DEFAULT)


# --- what the cells have in common ---


def lineages(flow: Flow, choices: Choices) -> dict[str, frozenset[tuple[str, str]]]:
    """By node what its value hangs on: the choices made for it and for all nodes before it.

    flow: with the choices put in. Nodes of two cells with the same lineage do the same work.
    """
    found: dict[str, frozenset[tuple[str, str]]] = {}
    for node in flow.nodes:  # in an order in which they can run
        own = {(node.name, choices[node.name])} if node.name in choices else set[tuple[str, str]]()
        found[node.name] = frozenset(own).union(*(found[each] for each in node.sources()))
    return found


def size_of(flow: Flow, matrix: Matrix, lines: int) -> Size:
    """How much it is to run the matrix over so many lines."""
    alone, behind = 0, 0
    distinct: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for cell in matrix.cells:
        graph = flow.with_variants(cell.choices)
        hangs_on = lineages(graph, cell.choices)
        asked = [node for node in graph.nodes if node.kind == "llm"]
        behind += sum(node.is_aggregation for node in asked)
        ordinary = [node for node in asked if not node.is_aggregation]
        alone += len(ordinary)
        for node in ordinary:
            # The answer of a node that streams is read by its cell alone.
            own = frozenset({("", cell.label)}) if _streams(node) else frozenset()
            distinct.add((node.name, hangs_on[node.name] | own))
    return Size(
        cells=len(matrix.cells),
        lines=lines,
        calls=len(distinct) * lines + behind,
        calls_alone=alone * lines + behind,
    )


def _streams(node: Node) -> bool:
    return any(
        port.name == "stream" and port.value not in (None, False, "") for port in node.inputs
    )
