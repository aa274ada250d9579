"""What tools tell an editor about their inputs. Kept on the function, read by editors only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


class DynamicList:
    """The choices of an input come from a function. input_mapping: its arguments to other inputs."""

    def __init__(
        self, function: Callable[..., Any] | str, *, input_mapping: Mapping[str, str] | None = None
    ) -> None:
        self.function = function
        self.input_mapping = dict(input_mapping or {})


class InputSetting:
    """How an editor shows one input of a tool. What it does not know of is kept in `told`."""

    def __init__(
        self,
        *,
        is_multi_select: bool | None = None,
        allow_manual_entry: bool | None = None,
        enabled_by: str | None = None,
        enabled_by_value: Sequence[Any] | None = None,
        dynamic_list: DynamicList | None = None,
        generated_by: Any = None,
        **told: Any,
    ) -> None:
        self.is_multi_select = is_multi_select
        self.allow_manual_entry = allow_manual_entry
        self.enabled_by = enabled_by
        self.enabled_by_value = enabled_by_value
        self.dynamic_list = dynamic_list
        self.generated_by = generated_by
        self.told = told
