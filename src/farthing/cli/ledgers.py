"""How commands reach keys, budgets and the ledger: beside a running gateway, never in its way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from farthing.accounts.accounts import Accounts
from farthing.base.clock import SystemClock
from farthing.base.config import load
from farthing.base.storage import connect

T = TypeVar("T")


def with_accounts(job: Callable[[Accounts], Awaitable[T]]) -> T:
    """Run a job with the accounts that the settings name. Raises ConfigError, StorageError."""

    async def run() -> T:
        async with _accounts() as accounts:
            return await job(accounts)

    return asyncio.run(run())


@asynccontextmanager
async def _accounts() -> AsyncIterator[Accounts]:
    settings = load(None, os.environ).settings
    database = connect(settings.storage, durability=settings.ledger.durability, exclusive=False)
    await database.open()
    try:
        accounts = Accounts(database, settings, clock=SystemClock(), environ=os.environ)
        await accounts.open(recover=False)
        try:
            yield accounts
        finally:
            await accounts.aclose()
    finally:
        await database.close()
