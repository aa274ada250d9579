"""The tree: each error has its own code and status, and is drawn in the module's docstring."""

import inspect

from farthing.core import errors
from farthing.core.errors import (
    BudgetExceededError,
    ConfigError,
    FarthingError,
    UpstreamError,
    did_you_mean,
)


def tree() -> list[type[FarthingError]]:
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    return [cls for cls in classes if issubclass(cls, FarthingError)]


def test_every_class_stands_in_the_drawing() -> None:
    assert errors.__doc__ is not None
    missing = [cls.__name__ for cls in tree() if cls.__name__ not in errors.__doc__]
    assert missing == []


def test_a_message_ends_with_what_to_do() -> None:
    error = BudgetExceededError("Budget 'a' has $0.10 left.", remedy="raise it")
    assert str(error) == "Budget 'a' has $0.10 left. Try a cheaper call, or raise it."
    assert (error.status, error.code, error.retryable) == (402, "budget_exceeded", False)


def test_a_settings_error_points_into_the_file() -> None:
    error = ConfigError("Unknown key 'prot'.", path="farthing.toml", line=3, column=5)
    assert str(error) == "farthing.toml:3:5: Unknown key 'prot'."


def test_an_instance_may_be_more_precise_than_its_class() -> None:
    error = UpstreamError("x", status=429, retryable=False, code="upstream_quota")
    assert (error.status, error.retryable, error.code) == (429, False, "upstream_quota")
    assert UpstreamError("y").retryable


def test_near_words_are_suggested() -> None:
    assert did_you_mean("gpt-4", ["gpt-4o", "claude"]) == "Did you mean 'gpt-4o'?"
    assert did_you_mean("zzz", ["gpt-4o"]) is None
