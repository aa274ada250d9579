"""The board: one lock for all, free when its holder dies, and made anew when it is of no use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from farthing.base.storage.board import (
    COUNTED,
    GENERATION,
    SIZE,
    SLOTS,
    USED,
    VERSION_AT,
    WANTED,
    Board,
    key_of,
)
from farthing.core.errors import StorageError

KEY = key_of("budget", "scope", 0)


def opened(path: Path, nonce: int) -> Board:
    board = Board(path, nonce=nonce)
    board.open(timeout_s=1.0)
    return board


def settle(board: Board) -> None:
    """As after a count."""
    board.words[COUNTED] = board.words[WANTED]


def test_what_one_stores_the_other_sees(tmp_path: Path) -> None:
    one, two = opened(tmp_path / "b", 1), opened(tmp_path / "b", 2)
    at = one.add(KEY)
    one.words[at], one.words[at + 1] = 7, -9
    assert two.slots() == {KEY: at}
    assert (two.words[at], two.words[at + 1]) == (7, -9)
    two.drop(at)
    assert one.slots() == {}
    assert oct((tmp_path / "b").stat().st_mode & 0o777) == "0o600"
    one.close()
    two.close()


def test_the_lock_keeps_out_other_processes_and_the_other_thread_of_this_one(
    tmp_path: Path,
) -> None:
    one, two = opened(tmp_path / "b", 1), opened(tmp_path / "b", 2)
    assert one.try_lock()
    assert not two.try_lock()
    with pytest.raises(StorageError, match="locked by another process"):
        one.lock(timeout_s=0.01)
    one.unlock_quick()
    one.lock(timeout_s=1.0)
    assert not one.try_lock()
    one.unlock()
    assert two.try_lock()
    one.close()
    two.close()


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    board = opened(tmp_path / "b", 1)
    program = (
        "import sys, time; from pathlib import Path\n"
        "from farthing.base.storage.board import Board\n"
        "b = Board(Path(sys.argv[1]), nonce=9); b.open(timeout_s=1.0); assert b.try_lock()\n"
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "b")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert not board.try_lock()
        child.kill()
    assert board.try_lock()
    board.close()


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * SIZE, b"\x00" * SIZE])
def test_a_file_that_is_no_board_becomes_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b").write_bytes(content)
    board = opened(tmp_path / "b", 1)
    assert board.slots() == {}
    assert not board.is_sound
    settle(board)
    assert board.is_sound
    board.close()


def test_a_board_of_another_version_is_made_anew_and_no_generation_comes_back(
    tmp_path: Path,
) -> None:
    first = opened(tmp_path / "b", 1)
    first.add(KEY)
    generation = first.words[GENERATION]
    first.words[VERSION_AT] += 1
    first.close()
    second = opened(tmp_path / "b", 2)
    assert second.slots() == {}
    assert second.words[GENERATION] != generation
    second.close()


def test_whoever_opens_a_board_wants_it_counted(tmp_path: Path) -> None:
    one = opened(tmp_path / "b", 1)
    settle(one)
    opened(tmp_path / "b", 2).close()
    assert not one.is_sound
    one.close()


def test_marks_of_two_boards_are_never_equal(tmp_path: Path) -> None:
    one, two = opened(tmp_path / "b", 1), opened(tmp_path / "b", 2)
    marks = [board.new_mark() for board in (one, two) for _ in range(100)]
    assert len(set(marks)) == 200
    one.close()
    two.close()


def test_a_full_board_says_so(tmp_path: Path) -> None:
    board = opened(tmp_path / "b", 1)
    board.words[USED] = SLOTS
    with pytest.raises(StorageError, match="no room"):
        board.add(KEY)
    board.clear()
    board.add(KEY)
    board.close()


def test_a_board_that_was_taken_away_is_noticed(tmp_path: Path) -> None:
    board = opened(tmp_path / "b", 1)
    assert board.is_in_place()
    (tmp_path / "b").unlink()
    assert not board.is_in_place()
    opened(tmp_path / "b", 2).close()
    assert not board.is_in_place()
    board.close()


def test_rates_keep_their_words_through_a_count(tmp_path: Path) -> None:
    board = opened(tmp_path / "b", 1)
    at = board.rate(key_of("rate", "r"))
    assert at is not None
    board.words[at] = 5
    board.clear()
    assert board.rate(key_of("rate", "r")) == at
    assert board.words[at] == 5
    assert board.rate(key_of("rate", "other")) != at
    board.close()
