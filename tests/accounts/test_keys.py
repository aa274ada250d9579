"""Keys: known at once wherever they were made, and never guessed for free."""

from __future__ import annotations

import pytest

from farthing.accounts.accounts import Accounts
from farthing.accounts.keys import GUESS_REFRESH_S
from farthing.base.config.settings import Settings
from farthing.core.errors import AuthenticationError
from tests.accounts.books import Books, books


def another(b: Books) -> Accounts:
    """Accounts of another process on the same database (the command line beside the gateway)."""
    return Accounts(b.database, Settings(), clock=b.clock, environ={})


async def test_a_key_that_another_process_made_a_moment_ago_is_known(url: str) -> None:
    async with books(url) as b:
        await b.accounts.keys.create("first")
        beside = another(b)
        await b.accounts.identify((await b.accounts.keys.create("second")).secret, face="openai")
        made = await beside.keys.create("third")
        await b.clock.advance(GUESS_REFRESH_S)
        caller = await b.accounts.identify(made.secret, face="openai")
        assert caller.name == "third"


async def test_a_key_that_another_process_revoked_ends_within_a_second(url: str) -> None:
    async with books(url) as b:
        made = await b.accounts.keys.create("first")
        await b.accounts.identify(made.secret, face="openai")
        await another(b).keys.revoke("first")
        await b.clock.advance(1.0)
        with pytest.raises(AuthenticationError, match="revoked"):
            await b.accounts.identify(made.secret, face="openai")


async def test_guessing_keys_does_not_reach_the_database_each_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with books(url) as b:
        await b.accounts.keys.create("first")
        reads = 0
        read = b.database.read

        async def counted(*args: object, **kwargs: object) -> object:
            nonlocal reads
            reads += 1
            return await read(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(b.database, "read", counted)
        for number in range(100):
            with pytest.raises(AuthenticationError, match="not known"):
                await b.accounts.identify(f"fk-guess-{number}", face="openai")
        assert reads <= 1
