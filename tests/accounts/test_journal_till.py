"""The quick till on SQLite: nothing is stale, changes bind at once, and a killed process leaves no doubt."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from farthing.accounts.accounts import Accounts
from farthing.accounts.budgets import Budget
from farthing.base.clock import FakeClock
from farthing.base.config.settings import Alerts, Ledger, Settings, Storage
from farthing.base.config.settings import Budget as BudgetTable
from farthing.base.storage import connect
from farthing.base.storage.board import BUSY, COUNTED, WANTED
from farthing.base.storage.journal import Journal, journals
from farthing.core.errors import BudgetExceededError, StorageError
from tests.accounts.books import ALICE, Books, books, record_of

TOTAL = Budget(name="b", nanodollars=1_000, window="total")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "farthing.db"


async def beside(path: Path) -> Books:
    """What a command has: accounts that make no calls."""
    database = connect(Storage(url=f"sqlite:{path}"))
    await database.open()
    accounts = Accounts(database, Settings(), clock=FakeClock(seed=77), environ={})
    await accounts.open(recover=False)
    return Books(accounts, database, FakeClock(seed=78))


async def ended(b: Books) -> None:
    await b.accounts.aclose()
    await b.database.close()


async def test_a_call_needs_no_wait_from_the_second_on(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        assert b.accounts.reserve_now(b.wish(10)) is None
        await b.end(await b.begin(10), 5)
        call = b.accounts.reserve_now(b.wish(100))
        assert call is not None
        assert b.accounts.extend_now(call, 50)
        assert b.accounts.settle_now(call, record_of(call, 120))
        other = b.accounts.reserve_now(b.wish(100))
        assert other is not None
        assert b.accounts.release_now(other)
        with pytest.raises(BudgetExceededError, match=r"\$0.000000875 left of \$0.000001"):
            b.accounts.reserve_now(b.wish(876))
        assert await b.left("b") == (125, 0, 875)


async def test_a_command_beside_the_gateway_sees_its_calls_at_once(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.spend(40)
        await b.begin(7)
        command = await beside(path)
        assert (await command.ledger(), await command.held()) == (40, 7)
        await b.spend(2)
        assert await command.ledger() == 42
        await ended(command)


async def test_what_a_command_changes_binds_at_the_very_next_call(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.begin(600)
        command = await beside(path)
        await command.accounts.set_budget(TOTAL)
        with pytest.raises(BudgetExceededError):
            await b.begin(500)
        await b.begin(400)
        await command.accounts.set_budget(msgspec.structs.replace(TOTAL, nanodollars=1_100))
        await b.begin(100)
        await command.accounts.remove_budget("b")
        await b.begin(10_000)
        await ended(command)


async def test_a_hold_that_is_decided_by_hand_makes_room_at_once(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        call = await b.begin(1_000)
        await b.end(call, 0, unconfirmed=1_000)
        with pytest.raises(BudgetExceededError):
            await b.begin(1)
        command = await beside(path)
        await command.accounts.release_unsettled(call.hold.call_id)
        await b.begin(1_000)
        await ended(command)


async def test_a_key_that_a_command_revokes_is_refused_at_once(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        made = await b.accounts.keys.create("alice", team="red")
        caller = await b.accounts.identify(made.secret, face="openai")
        assert b.accounts.identify_now(made.secret, face="openai") is b.accounts.identify_now(
            made.secret, face="openai"
        )
        assert b.accounts.identify_now(made.secret, face="openai") == caller
        assert b.accounts.identify_now("fk-guess", face="openai") is None
        assert b.accounts.identify_now(None, face="openai") is None
        command = await beside(path)
        await command.accounts.keys.revoke("alice")
        assert b.accounts.identify_now(made.secret, face="openai") is None
        await ended(command)


async def test_without_keys_everyone_is_local_at_once(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        caller = b.accounts.identify_now("any key at all", face="openai")
        assert caller is not None
        assert caller.is_local


async def test_an_old_secret_ends_with_its_grace_without_a_question_to_the_database(
    path: Path,
) -> None:
    async with books(f"sqlite:{path}") as b:
        old = await b.accounts.keys.create("alice", expires_at=int(b.clock.now()) + 100)
        new = await b.accounts.keys.rotate("alice", grace_s=60)
        assert b.accounts.identify_now(old.secret, face="openai") is not None
        await b.clock.advance(60)
        assert b.accounts.identify_now(old.secret, face="openai") is None
        assert b.accounts.identify_now(new.secret, face="openai") is not None
        await b.clock.advance(40)
        assert b.accounts.identify_now(new.secret, face="openai") is None


async def test_a_clean_end_leaves_no_journal_and_bounded_files(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.spend(1)
        assert len(journals(path)) == 1
    assert {p.name for p in path.parent.iterdir()} == {"farthing.db", "farthing.db.board"}


async def test_a_board_that_its_killed_holder_left_busy_is_counted_anew(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        await b.begin(300)
        board = b.accounts._till._board  # type: ignore[attr-defined]
        (at,) = board.slots().values()
        board.words[at] = 12_345
        board.words[BUSY] = 1
        await b.begin(700)
        assert (board.words[at], board.words[at + 1]) == (0, 1_000)


async def test_a_board_that_is_taken_away_stops_calls_until_a_new_start(path: Path) -> None:
    board = path.with_name("farthing.db.board")
    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        board.unlink()
        with pytest.raises(StorageError, match="removed while it was in use"):
            await b.begin(1)
    async with books(f"sqlite:{path}") as b:
        board.write_bytes(b"nonsense" * 10)
    async with books(f"sqlite:{path}") as b:
        await b.begin(1_000)
        with pytest.raises(BudgetExceededError):
            await b.begin(1)


async def test_folding_twice_changes_nothing(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        await b.spend(30)
        await b.begin(20)
        for _ in range(3):
            keeper = b.accounts._till._keeper  # type: ignore[attr-defined]
            keeper._folded = -1
            await keeper.fold()
        assert await b.left("b") == (30, 20, 950)
        assert len(await b.accounts.entries()) == 1


async def test_a_journal_of_a_copied_folder_is_folded_into_the_copy(path: Path) -> None:
    copy = path.parent / "copy"
    copy.mkdir()
    async with books(f"sqlite:{path}") as b:
        await b.spend(30)
        await b.begin(20)
        with (
            closing(sqlite3.connect(path)) as source,
            closing(sqlite3.connect(copy / "farthing.db")) as target,
        ):
            source.backup(target)
        for file in journals(path):
            (copy / file.path.name).write_bytes(file.path.read_bytes())
    async with books(f"sqlite:{copy / 'farthing.db'}", FakeClock(seed=5)) as restored:
        assert (await restored.ledger(), await restored.held()) == (30, 20)
        assert [h.state for h in await restored.accounts.unsettled()] == ["orphaned"]


async def test_a_damaged_journal_is_put_aside_and_what_was_before_the_damage_counts(
    path: Path,
) -> None:
    one = await beside(path)
    await one.spend(1)
    await one.spend(20)
    await one.database.close()  # as if killed: nothing was folded
    (file,) = journals(path)
    data = bytearray(file.path.read_bytes())
    data[-1] ^= 1
    file.path.write_bytes(bytes(data))
    async with books(f"sqlite:{path}", FakeClock(seed=9)) as b:
        assert await b.ledger() == 1
        assert [(h.state, h.nanodollars) for h in await b.accounts.unsettled()] == [
            ("orphaned", 20)
        ]
    assert [p.name for p in path.parent.glob("*.damaged")] == [
        file.path.with_suffix(".damaged").name
    ]


async def test_calls_beyond_the_budget_of_the_settings_file_are_refused_in_two_processes(
    path: Path,
) -> None:
    same = Settings(budgets={"b": BudgetTable(dollars="0.000001", window="total")})
    url = f"sqlite:{path}"
    async with (
        books(url, FakeClock(seed=1), same) as one,
        books(url, FakeClock(seed=2), same) as two,
    ):
        await one.begin(600)
        await two.begin(400)
        for each in (one, two):
            with pytest.raises(BudgetExceededError):
                await each.begin(1)


async def test_a_mark_that_is_passed_is_told_within_the_moment_and_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:{path}"
    settings = Settings(alerts=Alerts())
    async with (
        books(url, FakeClock(seed=1), settings) as one,
        books(url, FakeClock(seed=2), settings) as two,
    ):
        await one.accounts.set_budget(TOTAL)
        await two.spend(10)
        await one.spend(850)
        async with asyncio.timeout(5):
            while "has used 80 %" not in caplog.text:
                await asyncio.sleep(0.01)
        await two.spend(10)
        await two.ledger()
    assert caplog.text.count("has used 80 %") == 1


async def test_with_power_durability_each_answer_waits_for_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    fdatasync = os.fdatasync

    def counted(descriptor: int) -> None:
        nonlocal count
        count += 1
        threading.Event().wait(0.005)  # a disk that takes its time, so that calls wait together
        fdatasync(descriptor)

    settings = Settings(ledger=Ledger(durability="power"))
    async with books(f"sqlite:{path}", settings=settings) as b:
        await b.accounts.set_budget(TOTAL)
        await b.begin(1)
        monkeypatch.setattr(os, "fdatasync", counted)
        assert b.accounts.reserve_now(b.wish(10)) is None
        call = await b.begin(10)
        assert count == 1
        assert not b.accounts.settle_now(call, record_of(call, 5))
        await b.end(call, 5)
        assert count == 2
        calls = await asyncio.gather(*(b.begin(1) for _ in range(50)))
        await asyncio.gather(*(b.end(call, 1) for call in calls))
        assert count < 20
        assert await b.left("b") == (55, 1, 944)


async def test_a_disk_that_fails_to_sync_leaves_no_hold_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(ledger=Ledger(durability="power"))
    async with books(f"sqlite:{path}", settings=settings) as b:
        await b.accounts.set_budget(TOTAL)
        await b.begin(1)

        def broken(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", broken)
            with pytest.raises(StorageError, match="Input/output error"):
                await b.begin(999)
        await b.begin(999)


_CHILD = """
import asyncio, os, signal, sys
sys.path.insert(0, {root!r})
from farthing.accounts.budgets import Budget
from farthing.base.clock import FakeClock
from farthing.base.storage import journal
from tests.accounts.books import books

async def main():
    clock = FakeClock(seed=int(sys.argv[2]))
    async with books("sqlite:" + sys.argv[1], clock) as b:
        await b.begin(0)
        left, append = int(sys.argv[3]), journal.Journal.append
        def dying(self, payload):
            nonlocal left
            append(self, payload)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        journal.Journal.append = dying
        while True:
            call = await b.begin(10)
            await b.end(call, 7)
            print(call.hold.call_id, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("records", [1, 2, 5, 8])
async def test_a_process_killed_behind_a_write_leaves_exactly_what_it_wrote(
    path: Path, records: int
) -> None:
    """Signal 9 at the worst moment: the record is written, the board not yet changed."""
    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        await b.begin(0)
        child = subprocess.run(
            [
                sys.executable,
                "-c",
                _CHILD.format(root=str(Path(__file__).parents[2])),
                *(str(path), "4", str(records)),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
        told = set(child.stdout.split())
        settled, is_open = records // 2, records % 2
        assert len(told) in (settled, max(0, settled - 1))
        await b.begin(0)
        await b.accounts.recover()
        spent, reserved, _ = await b.left("b")
        assert (spent, reserved) == (7 * settled, 10 * is_open)
        assert told <= {entry.call_id for entry in await b.accounts.entries()}
        await b.begin(1_000 - spent - reserved)
        with pytest.raises(BudgetExceededError):
            await b.begin(1)
        states = {h.state for h in await b.accounts.unsettled() if h.nanodollars == 10}
        assert states == ({"orphaned"} if is_open else set())


async def test_a_call_without_any_budget_takes_no_lock(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.begin(1)
        board = b.accounts._till._board  # type: ignore[attr-defined]
        assert board.try_lock()
        call = b.accounts.reserve_now(b.wish(10, caller=ALICE))
        assert call is not None
        assert b.accounts.settle_now(call, record_of(call, 3))
        board.unlock_quick()
        assert (await b.ledger(), await b.held()) == (3, 1)


async def test_while_another_holds_the_lock_an_answer_is_settled_all_the_same(path: Path) -> None:
    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        call = await b.begin(10)
        board = b.accounts._till._board  # type: ignore[attr-defined]
        board.lock(timeout_s=1.0)  # as another process would hold it
        assert b.accounts.reserve_now(b.wish(1)) is None
        assert b.accounts.settle_now(call, record_of(call, 3))
        board.unlock()
        await b.begin(997)
        with pytest.raises(BudgetExceededError):
            await b.begin(1)


@pytest.mark.parametrize("team", [None, "red"])
async def test_a_call_from_before_the_budget_changed_counts_in_it_as_it_is_now(
    path: Path, team: str | None
) -> None:
    """Its windows are others by then than its process knows: what the board shows must not drift."""
    async with books(f"sqlite:{path}") as b:
        if team is not None:
            await b.accounts.set_budget(msgspec.structs.replace(TOTAL, team=team))
        first, second = await b.begin(300), await b.begin(200)
        await b.accounts.set_budget(TOTAL)
        await b.begin(0)
        assert b.accounts.settle_now(first, record_of(first, 100))
        with pytest.raises(BudgetExceededError):
            await b.begin(701)
        await b.accounts.release(second)
        await b.begin(900)
        assert await b.left("b") == (100, 900, 0)


async def test_a_call_that_is_served_unrecorded_counts_once_it_is_booked(path: Path) -> None:
    from farthing.accounts.accounts import Reservation

    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        await b.begin(0)
        call = Reservation(hold=b.wish(50), is_recorded=False)
        await b.end(call, 400)
        with pytest.raises(BudgetExceededError):
            await b.begin(601)
        await b.begin(600)
        assert await b.left("b") == (400, 600, 0)


async def test_a_count_between_mark_and_write_does_not_hide_what_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process counts what the journal says, finds the mark, and is done before the record comes."""
    async with books(f"sqlite:{path}") as b:
        await b.accounts.set_budget(TOTAL)
        call = await b.begin(300)
        board = b.accounts._till._board  # type: ignore[attr-defined]
        append = Journal.append

        def late(self: Journal, payload: bytes) -> None:
            board.words[COUNTED] = board.words[WANTED]
            append(self, payload)

        board.lock(timeout_s=1.0)  # so that the settlement goes the way without the lock
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "append", late)
            assert b.accounts.settle_now(call, record_of(call, 100))
        board.unlock()
        await b.begin(900)
        with pytest.raises(BudgetExceededError):
            await b.begin(1)


async def test_a_hold_written_while_a_budget_was_made_is_taken_back_and_asked_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written without the lock, since no budget counted it when it was looked up."""
    async with books(f"sqlite:{path}") as b:
        await b.begin(1)
        board = b.accounts._till._board  # type: ignore[attr-defined]
        append = Journal.append

        def overtaken(self: Journal, payload: bytes) -> None:
            append(self, payload)
            board.want_count()  # an administrator's change, as this process sees it

        with monkeypatch.context() as patch:
            patch.setattr(Journal, "append", overtaken)
            assert b.accounts.reserve_now(b.wish(50)) is None
        assert await b.held() == 1
        await b.begin(50)
        assert await b.held() == 51
