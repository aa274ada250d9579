"""The inputs of a flow as parameters of a function, and what is to be done for images in them."""

from __future__ import annotations

from collections.abc import Sequence

from farthing.flows.export.layout import Expression, Group, Item, lines, text
from farthing.flows.export.names import identifier
from farthing.flows.export.parts import Parts
from farthing.flows.export.sources import OURS
from farthing.flows.graph import Input, wrong
from farthing.flows.prompts.images import MessageFormat

_HINTS = {"int": "int", "double": "float", "bool": "bool", "string": "str"}


class Inputs:
    """The inputs of one flow. looks_at_images: lists and objects may hold some, and they are to be read."""

    def __init__(
        self,
        inputs: Sequence[Input],
        parts: Parts,
        *,
        message_format: MessageFormat = "basic",
        looks_at_images: bool = False,
    ) -> None:
        """Raises FlowFormatError: an input's name cannot be a parameter's."""
        self._inputs = inputs
        self._parts = parts
        self._format = message_format
        self._looks_at_images = looks_at_images
        for each in inputs:
            if identifier(each.name) != each.name:
                raise wrong(
                    f"The input '{each.name}' cannot be a parameter of a Python function.",
                    hint=f"Rename it in the flow, e.g. {identifier(each.name)}.",
                    field=each.name,
                    span=each.span,
                )

    def head(self, name: str, gives: str) -> list[str]:
        """The first lines of the function. Defaults stand as the flow's file has them, in its order."""
        parts = self._parts
        items, is_named, had_default = [], False, False
        for each in self._inputs:
            is_named |= had_default and not each.has_default
            had_default |= each.has_default
            hint = self._hint(each)
            if each.has_default:
                items.append(Item(parts.literal(each.default), f"{each.name}: {hint} = "))
            else:
                items.append(Item(hint, f"{each.name}: "))
        if is_named:  # a parameter without a default may stand behind one that has some
            items.insert(0, Item("*"))
        return lines("", Group(f"async def {name}(", tuple(items), f") -> {gives}:"))

    def reading(self) -> list[str]:
        """Statements that read the images in the inputs of a line."""
        made = []
        for each in self._inputs:
            read = self.read(each.name, each.name)
            if read is not None:
                fetched = self._parts.use("farthing.flows", "fetched")
                whole = Group(f"await {fetched}(", (Item(read), Item(text(each.name))), ")")
                made += lines(f"{each.name} = ", whole, depth=1)
        return made

    def read(self, name: str, value: str) -> Expression | None:
        """What reads the images in a value of that input; None where it has none."""
        kind = next(each.kind for each in self._inputs if each.name == name)
        if kind == "image":
            function, told = "image_of", []
        elif kind in ("list", "object") and self._looks_at_images:
            function = "with_images"
            told = [] if self._format == "basic" else [Item(text(self._format))]
        else:
            return None
        called = self._parts.use("farthing.flows", function)
        return Group(f"{called}(", (Item(value), Item(self._parts.folder()), *told), ")")

    def _hint(self, each: Input) -> str:
        if each.kind in _HINTS:
            return _HINTS[each.kind]
        if each.kind.endswith("Connection") and each.kind in OURS:
            return self._parts.use("farthing.flows", each.kind)
        anything = self._parts.use("typing", "Any")
        return {"list": f"list[{anything}]", "object": f"dict[str, {anything}]"}.get(
            each.kind, anything
        )
