"""Which variant of which node: read from `${node.variant}`, written back."""

from __future__ import annotations

import re
from collections.abc import Mapping

from farthing.core.errors import FlowInputError

#: By the name of a node the variant that it has.
Choices = Mapping[str, str]

#: `${node.variant}`, any number of them, with blanks or commas between.
_SEVERAL = re.compile(r"\s*(?:\$\{[^.{}]+\.[^{}]+\}[\s,]*)+")
_ONE = re.compile(r"\$\{([^.{}]+)\.([^{}]+)\}")
#: The bare `node.variant` is understood as well, where it stands alone.
_BARE = re.compile(r"([^.{}$]+)\.([^{}]+)")


def choices_of(variant: str) -> dict[str, str]:
    """What `${node.variant}`, or several of them, choose. Raises FlowInputError."""
    bare = _BARE.fullmatch(variant.strip())
    if bare is not None:
        return {bare[1]: bare[2]}
    if _SEVERAL.fullmatch(variant) is None:
        raise FlowInputError(
            f"'{variant[:80]}' names no variant.",
            hint="Write '${node.variant}', in single quotes so that the shell leaves it alone.",
            param="variant",
        )
    found: dict[str, str] = {}
    for node, chosen in _ONE.findall(variant):
        if found.setdefault(node, chosen) != chosen:
            raise FlowInputError(
                f"The node '{node}' is to have two variants at once: '{found[node]}' and '{chosen}'.",
                hint="Name one of them; `farthing flow variants --matrix` runs several.",
                param="variant",
            )
    return found


def variant_text(choices: Choices) -> str:
    """The choices as `choices_of` reads them."""
    return " ".join(f"${{{node}.{variant}}}" for node, variant in choices.items())
