"""Settings come from the file, then the environment, then the command line; mistakes are found at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from farthing.base.config import check, load
from farthing.base.config.settings import Settings
from farthing.core.errors import ConfigError

GOOD = """
[server]
port = 4100

[providers.my-azure]
type = "azure"
key = "env:AZURE_KEY"
base_url = "https://example.openai.azure.com"

[providers.openai]
type = "openai"
key = "sk-written-out"
models = ["gpt-4o-mini"]

[deployments.eu]
provider = "my-azure"
model = "gpt-4o"
price = { input = "2.50", output = 10 }

[deployments.us]
provider = "openai"
model = "gpt-4o"

[routes.chat]
deployments = ["eu", "us"]
fallbacks = ["gpt-4o-mini"]

[aliases]
fast = "chat"

[budgets.all]
dollars = "100.50"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "farthing.toml"
    path.write_text(text, encoding="utf-8")
    return path


def said(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    return [str(error) for error in check(write(folder, text), environ or {})]


def test_no_file_and_an_empty_environment_give_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(None, {})
    assert loaded.settings == Settings()
    assert loaded.path is None


def test_the_file_in_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).settings.server.port == 4100


def test_the_variable_names_another_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load(None, {"FARTHING_CONFIG": str(path)}).path == path


def test_a_named_file_that_is_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"named by FARTHING_CONFIG.*does not exist"):
        load(None, {"FARTHING_CONFIG": str(tmp_path / "none.toml")})


def test_environment_beats_file_and_command_line_beats_both(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    environ = {"FARTHING_SERVER__PORT": "4200", "FARTHING_SERVER__DETECT": "False"}
    loaded = load(path, environ)
    assert loaded.settings.server.port == 4200
    assert loaded.settings.server.detect is False
    assert loaded.origins["server.port"] == "environment variable FARTHING_SERVER__PORT"
    assert loaded.origins["aliases.fast"] == str(path)
    overridden = load(path, environ, {"server.port": 0})
    assert overridden.settings.server.port == 0
    assert overridden.origins["server.port"] == "command line"


def test_a_variable_finds_a_name_with_other_separators(tmp_path: Path) -> None:
    environ = {
        "FARTHING_PROVIDERS__MY_AZURE__REGION": "swedencentral",
        "FARTHING_PROVIDERS__OPENAI__MODELS": "gpt-4o-mini, gpt-4.1",
        "FARTHING_BUDGETS__ALL__ALERT_AT": "50,90",
        "FARTHING_SERVER__CORS_ORIGINS": '["https://a.example"]',
        "FARTHING_PROVIDERS__OPENAI__KEY": "12345",
    }
    settings = load(write(tmp_path, GOOD), environ).settings
    assert settings.providers["my-azure"].region == "swedencentral"
    assert settings.providers["openai"].models == ("gpt-4o-mini", "gpt-4.1")
    assert settings.budgets["all"].alert_at == (50, 90)
    assert settings.server.cors_origins == ("https://a.example",)
    assert settings.providers["openai"].key == "12345"


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("FARTHING_SERVER__PRT", "FARTHING_SERVER__PORT"),
        ("FARTHING_SERVR__PORT", "FARTHING_SERVER__PORT"),
        ("FARTHING_PROVIDERS__OPENAI__KYE", "FARTHING_PROVIDERS__NAME__KEY"),
    ],
)
def test_a_slip_in_a_variable_is_an_error_with_the_nearest_name(
    tmp_path: Path, variable: str, near: str
) -> None:
    (message,) = said(tmp_path, GOOD, {variable: "1"})
    assert f"Environment variable {variable} names no setting." in message
    assert near in message


def test_a_wrong_value_in_a_variable_names_the_variable(tmp_path: Path) -> None:
    (message,) = said(tmp_path, GOOD, {"FARTHING_SERVER__PORT": "many"})
    assert "expects an integer, got a string" in message
    assert "environment variable FARTHING_SERVER__PORT" in message
    assert "many" not in message


def test_a_single_underscore_is_a_warning_because_kubernetes_sets_such_names(
    tmp_path: Path,
) -> None:
    environ = {"FARTHING_SERVER_PORT": "tcp://10.0.0.1:80", "AZURE_KEY": "x"}
    (warning,) = load(write(tmp_path, GOOD), environ).warnings
    assert "FARTHING_SERVER__PORT" in warning


def test_an_unset_variable_behind_a_key_is_a_warning(tmp_path: Path) -> None:
    (warning,) = load(write(tmp_path, GOOD), {}).warnings
    assert "providers.my-azure.key" in warning
    assert "AZURE_KEY is not set" in warning


def test_syntax_errors_have_line_and_column(tmp_path: Path) -> None:
    (message,) = said(tmp_path, "[server]\nport = = 4\n")
    assert message.startswith(f"{tmp_path / 'farthing.toml'}:2:8: This is not valid TOML")


def test_a_file_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_bytes(b"[server]\n# \xff\n")
    (error,) = check(path, {})
    assert "not UTF-8" in str(error)


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "[server]\n"
        "prot = 4000\n"
        "port = 70000\n"
        "\n"
        "[ledger]\n"
        'unknown_price = "refuze"\n'
        "[providers.x]\n"
        "key = 5\n"
    )
    messages = said(tmp_path, text)
    places = [message.split(": ")[0].rsplit("farthing.toml", 1)[1] for message in messages]
    assert places == [":2:1", ":3:1", ":6:1", ":7:12", ":8:1"]
    assert "There is no setting 'server.prot'. Did you mean 'port' or 'host'?" in messages[0]
    assert "expects an integer <= 65535" in messages[1]
    assert """expects one of "refuse", "zero_and_warn". Did you mean 'refuse'?""" in messages[2]
    assert "providers.x lacks 'type'." in messages[3]
    assert "expects a string, got an integer" in messages[4]


def test_load_raises_the_first_mistake_and_counts_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nprot = 1\nhots = 2\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert (caught.value.path, caught.value.line, caught.value.column) == (str(path), 2, 1)
    assert "One more mistake: see `farthing config check`" in str(caught.value)


PROVIDER = '[providers.p]\ntype = "openai"\nmodels = []\n[server]\ndetect = false\n'


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        (
            '[providers.openai]\ntype = "openai"\n[deployments.d]\nprovider = "opnai"\nmodel = "m"\n',
            "4:1",
            "there is no provider 'opnai'. Did you mean 'openai'?",
        ),
        ('[routes.r]\ndeployments = ["nowhere"]\n', "2:16", "there is no deployment 'nowhere'"),
        ("[routes.r]\ndeployments = []\n", "2:1", "expects a list of length >= 1"),
        (
            PROVIDER + '[routes.r]\ndeployments = ["p/m"]\nfallbacks = ["other"]\n',
            "8:14",
            "there is no route or model 'other'",
        ),
        (
            PROVIDER + '[routes.r]\ndeployments = ["p/m"]\nfallbacks = ["r"]\n',
            "8:14",
            "falls back to itself",
        ),
        (PROVIDER + '[routes.r]\ndeployments = ["p/m", "p/m"]\n', "7:23", "is listed twice"),
        ('[aliases]\na = "b"\nb = "a"\n', "2:1", "aliases.a goes in a circle: a → b → a"),
        (PROVIDER + '[aliases]\na = "zzz"\n', "7:1", "there is no route or model 'zzz'"),
        (
            PROVIDER + '[deployments.d]\nprovider="p"\nmodel="m"\n[aliases]\nd = "m"\n',
            "10:1",
            "'d' is both an alias and one of the deployments",
        ),
        (
            PROVIDER
            + '[deployments.d]\nprovider="p"\nmodel="m"\n[routes.d]\ndeployments=["p/m"]\n',
            "9:9",
            "both a route and a deployment",
        ),
        ('[server]\ntls_cert = "c.pem"\n', "2:1", "server.tls_key is not"),
        ('[server]\ntls_key = "k.pem"\n', "2:1", "there is no file k.pem"),
        ('[storage]\nurl = "mysql://x:hidden@y/z"\n', "2:1", "names no database"),
        ('[storage]\nurl = "sqlite:"\n', "2:1", "names no database"),
        ('[budgets.a]\ndollars = "-5"\n', "2:1", "'-5' is not an amount of dollars"),
        ("[budgets.a]\ndollars = -5\n", "2:1", "is not an amount of dollars"),
        ('[budgets.a]\ndollars = "ten"\n', "2:1", "is not an amount of dollars"),
        ("[budgets.a]\ndollars = 1\nalert_at = [0]\n", "3:13", "is not a percentage"),
        (
            '[budgets.a]\ndollars = 1\nteam = "x"\n[budgets.b]\ndollars = 2\nteam = "x"\n',
            "4:10",
            "limits exactly what budgets.a limits",
        ),
        (
            PROVIDER + '[deployments.d]\nprovider="p"\nmodel="m"\nprice={input="0.0000001"}\n',
            "9:8",
            "at most six decimals",
        ),
        ('[providers.p]\ntype = "openai"\nbase_url = "localhost:1"\n', "3:1", "is not an http"),
        ('[providers.p]\ntype = "openai"\nkey = "file:/no/such"\n', "3:1", "there is no file"),
        ('[providers.p]\ntype = "openai"\nkey = "env:"\n', "3:1", "names nothing"),
        ('[providers."a b"]\ntype = "openai"\n', "1:12", "visible ASCII"),
        ('[providers."a/b"]\ntype = "openai"\n', "1:12", "cannot contain '/'"),
        ("[timeouts]\ntotal_s = inf\n", "2:1", "expects a finite number"),
        ("server = 1\n", "1:1", "server expects a table, got an integer"),
        ("providers = []\n", "1:1", "providers expects a table, got a list"),
        ('[retry]\nmax_tries = "4"\n', "2:1", "expects an integer, got a string"),
        ("[retry]\nmax_tries = 0\n", "2:1", "expects an integer >= 1"),
    ],
)
def test_each_mistake_has_its_place_and_says_what_to_do(
    tmp_path: Path, text: str, place: str, expected: str
) -> None:
    messages = said(tmp_path, text)
    assert any(f":{place}: " in message and expected in message for message in messages), messages


def test_no_message_echoes_a_secret(tmp_path: Path) -> None:
    text = (
        '[providers.p]\ntype = "openai"\nauth = "sk-canary-1"\nmax_connections = "sk-canary-2"\n'
        'base_url = "sk-canary-3"\n[storage]\nurl = "pg://u:sk-canary-4@h/d"\n'
    )
    messages = said(tmp_path, text)
    assert messages
    assert not any("canary" in message for message in messages)


def test_the_settings_repr_hides_keys(tmp_path: Path) -> None:
    settings = load(write(tmp_path, GOOD), {}).settings
    assert "sk-written-out" not in repr(settings)
    assert "gpt-4o-mini" in repr(settings)


def test_every_field_of_the_settings_has_a_description() -> None:
    def fields(struct: type[msgspec.Struct]) -> None:
        for field in msgspec.json.schema(struct)["$defs"].values():
            for name, spec in field["properties"].items():
                is_table = "$ref" in spec or "additionalProperties" in spec or "default" in spec
                assert spec.get("description") or is_table, name

    fields(Settings)
