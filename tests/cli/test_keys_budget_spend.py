"""`farthing keys`, `budget` and `spend`: on a real database, beside a gateway that owns it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from farthing.base.config.settings import Storage
from farthing.base.storage import connect
from farthing.cli.budget import budget
from farthing.cli.keys import keys
from farthing.cli.spend import spend
from farthing.core.errors import ConfigError, FarthingError, NotFoundError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(command: object, *arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    if isinstance(result.exception, FarthingError):
        raise result.exception
    return result


def test_a_key_is_shown_once_and_never_stored(tmp_path: Path) -> None:
    secret = json.loads(run(keys, "create", "alice", "--json").stdout)["key"]
    assert secret.startswith("fk-")
    assert secret not in run(keys, "list").output
    files = (tmp_path / ".farthing").iterdir()
    assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_a_revoked_key_is_listed_as_revoked() -> None:
    run(keys, "create", "alice")
    run(keys, "revoke", "alice")
    assert "revoked" in run(keys, "list").output


def test_a_rotated_key_stays_the_same_key_and_keeps_the_old_secret_for_the_grace() -> None:
    first = json.loads(run(keys, "create", "alice", "--json").stdout)
    second = json.loads(run(keys, "rotate", "alice", "--json").stdout)
    assert first["id"] == second["id"]
    assert first["key"] != second["key"]
    (listed,) = json.loads(run(keys, "list", "--json").stdout)
    assert listed["old_expires_at"] > listed["created_at"]


def test_a_budget_is_set_listed_and_removed() -> None:
    run(budget, "set", "sales", "25", "--team", "red")
    assert "$25.00" in run(budget, "list").output
    run(budget, "remove", "sales")
    assert "There is no budget" in run(budget, "list").output


@pytest.mark.parametrize("amount", ["lots", "0.0000000001"])
def test_an_amount_that_is_none_is_refused(amount: str) -> None:
    result = run(budget, "set", "sales", amount)
    assert result.exit_code == 2
    assert amount in result.output


def test_a_removed_budget_that_never_was_is_named() -> None:
    with pytest.raises(NotFoundError, match="'sales'"):
        run(budget, "remove", "sales")


def test_spend_says_when_nothing_was_spent() -> None:
    assert run(spend).output == "Nothing was spent yet.\n"
    assert run(spend, "--unsettled").output == "Every call is settled.\n"


@pytest.mark.parametrize("span", ["7", "d7", "7y"])
def test_a_span_that_is_none_says_how_to_write_one(span: str) -> None:
    result = run(spend, "--since", span)
    assert result.exit_code == 2
    assert "7d" in result.output


def test_a_call_without_a_hold_cannot_be_confirmed_or_released() -> None:
    with pytest.raises(NotFoundError, match="call_x"):
        run(spend, "--confirm", "call_x", "0.10")
    with pytest.raises(NotFoundError, match="call_x"):
        run(spend, "--release", "call_x")


async def test_the_commands_work_while_a_gateway_owns_the_database() -> None:
    import asyncio

    owner = connect(Storage(), durability="process", exclusive=True)
    await owner.open()
    try:
        await asyncio.to_thread(run, keys, "create", "alice")
        assert "alice" in (await asyncio.to_thread(run, keys, "list")).output
    finally:
        await owner.close()


def test_an_invoice_is_read_from_csv_and_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("request_id,dollars\nreq-1,0.000000001\n")
    (tmp_path / "b.jsonl").write_text('{"call_id": "call_x", "dollars": 0.5}\n')
    assert "unknown: req-1" in run(spend, "--reconcile", "a.csv").output
    done = json.loads(run(spend, "--reconcile", "b.jsonl", "--json").stdout)
    assert done["unknown"] == ["call_x"]


@pytest.mark.parametrize(
    "content", ["request_id,dollars\nreq-1,lots\n", "{}\n", "{broken\n", "a\n1\n"]
)
def test_an_invoice_with_a_bad_row_names_its_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad").write_text(content)
    with pytest.raises(ConfigError, match=r"bad:[12]: "):
        run(spend, "--reconcile", "bad")


@pytest.mark.parametrize("form", ["csv", "json", "focus"])
def test_rows_of_an_empty_span_are_none(form: str) -> None:
    result = run(spend, "--rows", form, "--since", "2026-11-01", "--until", "2026-12-01")
    assert result.output == ""
