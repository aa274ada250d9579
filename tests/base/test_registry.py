"""Names to things: loaded when used, never replaced, near misses suggested."""

import pytest

from farthing.base.registry import Registry
from farthing.core.errors import ConfigError


def registry(**builtins: str) -> Registry[object]:
    return Registry("provider", "farthing.none", builtins)


def test_a_builtin_is_imported_on_first_use() -> None:
    assert registry(join="os.path:join").get("join").__name__ == "join"  # type: ignore[attr-defined]


def test_an_unknown_name_suggests_the_nearest_and_lists_what_exists() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'openai'"):
        registry(openai="os:getcwd", azure="os:getcwd").get("opnai")
    with pytest.raises(ConfigError, match="Known: azure, openai"):
        registry(openai="os:getcwd", azure="os:getcwd").get("zzz")


def test_a_name_cannot_be_taken_twice() -> None:
    r = registry(openai="os:getcwd")
    with pytest.raises(ConfigError, match="already registered"):
        r.register("openai", object())


def test_a_thing_that_does_not_import_says_from_where_and_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"could not be loaded from no_such_module:x.*installed"):
        registry(gone="no_such_module:x").get("gone")


def test_membership_and_order() -> None:
    r = registry(b="os:getcwd", a="os:getcwd")
    assert "a" in r
    assert "c" not in r
    assert list(r) == ["a", "b"]
