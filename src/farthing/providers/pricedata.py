"""Read the price data that the genai-prices package ships, without importing the package.

Importing it costs about 0.8 s of CPU, nearly all of it for its validation models; its data module alone
needs 0.03 s (measured 2026-11-24 with genai-prices 0.2.3). That module is executed as it is installed,
with plain records in the place of the types that it imports.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from importlib.machinery import SourceFileLoader
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from farthing.core.errors import ConfigError

PACKAGE = "genai-prices"
_MODULE = "genai_prices"
#: The names that the data module takes from its package.
_RECORDS = (
    *("Provider", "UsageExtractor", "UsageExtractorMapping", "ArrayMatch", "ModelInfo"),
    *("ModelPrice", "TieredPrices", "Tier", "ConditionalPrice", "PriceVariant"),
    *("StartDateConstraint", "TimeOfDateConstraint"),
    *("ClauseEquals", "ClauseStartsWith", "ClauseEndsWith", "ClauseContains", "ClauseRegex"),
    *("ClauseOr", "ClauseAnd"),
)


class Record:
    """One record of the data: its type's name and its fields."""

    __slots__ = ("fields", "type")

    def __init__(self, type_: str, fields: dict[str, Any]) -> None:
        self.type = type_
        self.fields = fields

    def get(self, field: str) -> Any:
        """The field's value, or None when the data does not state it."""
        return self.fields.get(field)


#: What stands in a price field: one price, or a price with steps.
Value = Decimal | Record
#: When a price holds: from a date on, or at a time of day.
Constraint = date | tuple[time, time] | None


def installed_version() -> str:
    """The version of the price data in this environment."""
    return version(PACKAGE)


def load() -> Mapping[str, tuple[Record, ...]]:
    """Vendor id → its `ModelInfo` records. Raises ConfigError when the package is absent or differs."""
    code = _code()
    stand_in = types.ModuleType("records")
    for name in _RECORDS:
        setattr(stand_in, name, _constructor(name))
    stand_in.__dict__["__all__"] = _RECORDS

    def importer(name: str, *args: Any, **kwargs: Any) -> Any:
        level = kwargs.get("level", args[3] if len(args) > 3 else 0)
        return stand_in if level else builtins.__import__(name, *args, **kwargs)

    namespace: dict[str, Any] = {
        "__builtins__": {**vars(builtins), "__import__": importer},
        "__name__": f"{_MODULE}.data",
        "__package__": _MODULE,
    }
    try:
        # An installed dependency's own module, run in place of an import of it.
        exec(code, namespace)  # noqa: S102
        providers: list[Record] = namespace["providers"]
        return {record.get("id"): tuple(record.get("models") or ()) for record in providers}
    except (NameError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"The price data of {PACKAGE} {installed_version()} has a form that is not known.",
            hint="Install a version that this release was tested with (see constraints.txt).",
        ) from error


def constraint(record: Record) -> Constraint:
    """When a `ConditionalPrice` or `PriceVariant` holds; None: always."""
    when = record.get("constraint")
    if when is None:
        return None
    if when.type == "StartDateConstraint":
        start: date = when.get("start_date")
        return start
    return (when.get("start_time"), when.get("end_time"))


def _constructor(name: str) -> Any:
    def make(**fields: Any) -> Record:
        return Record(name, fields)

    return make


def _code() -> types.CodeType:
    spec = find_spec(_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{PACKAGE} is not installed.", hint=f"pip install {PACKAGE}")
    path = Path(spec.submodule_search_locations[0]) / "data.py"
    code = SourceFileLoader(f"{_MODULE}.data", str(path)).get_code(f"{_MODULE}.data")
    assert code is not None  # a source file always has code
    return code
