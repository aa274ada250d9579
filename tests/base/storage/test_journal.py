"""Journals: what was acknowledged is kept, what was not is not made up."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.base.storage import journal
from farthing.base.storage.journal import Journal, is_damaged, journals, path_of, read
from farthing.base.storage.sync import Syncer
from farthing.core.errors import StorageError

PAYLOADS = st.lists(st.binary(max_size=20), min_size=1, max_size=4)
FEW = settings(max_examples=30)


def payloads(path: Path, position: int = 0) -> list[bytes]:
    """All that can be read behind a position."""
    return [payload for found in read(path, position) for payload in found.payloads]


def written(folder: Path, records: list[bytes]) -> Path:
    """A journal with these records."""
    for old in folder.iterdir():
        old.unlink()
    made = Journal(folder / "f.db", "run_1")
    for record in records:
        made.append(record)
    made.close()
    return path_of(folder / "f.db", "run_1", 0)


@FEW
@given(PAYLOADS)
def test_what_is_cut_off_at_any_byte_leaves_the_whole_records_before_it(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    path = written(tmp_path_factory.mktemp("cut"), records)
    data = path.read_bytes()
    ends = [8]
    for record in records:
        ends.append(ends[-1] + 8 + len(record))
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends[1:])
        assert payloads(path) == records[:whole]
        position = max((end for end in ends if end <= size), default=0)
        assert not is_damaged(path, position)


@FEW
@given(PAYLOADS, st.data())
def test_a_changed_byte_invents_nothing_and_harms_nothing_before_it(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], data: st.DataObject
) -> None:
    path = written(tmp_path_factory.mktemp("flip"), records)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    found = payloads(path)
    assert found == records[: len(found)]
    end = 8
    for number, record in enumerate(records):
        end += 8 + len(record)
        if end <= at:
            assert len(found) > number


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    made = Journal(tmp_path / "f.db", "run_1")
    made.append(b"one")
    path = path_of(tmp_path / "f.db", "run_1", 0)
    (first,) = read(path, 0)
    made.append(b"two")
    assert payloads(path, first.position) == [b"two"]
    made.close()
    assert payloads(tmp_path / "gone.journal") == []


def test_a_full_disk_takes_nothing_of_a_record_and_the_next_one_follows_cleanly(
    tmp_path: Path,
) -> None:
    made = Journal(tmp_path / "f.db", "run_1")
    made.append(b"before")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, limit[1]))
        with pytest.raises(StorageError, match="disk is full") as caught:
            made.append(b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert "Free some space" in (caught.value.hint or "")
    made.append(b"after")
    made.close()
    assert payloads(path_of(tmp_path / "f.db", "run_1", 0)) == [b"before", b"after"]


def test_a_long_journal_goes_on_in_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROTATE_BYTES", 40)
    made = Journal(tmp_path / "f.db", "run_1")
    for number in range(6):
        made.append(b"%d" % number * 10)
    made.close()
    files = journals(tmp_path / "f.db")
    assert [file.number for file in files] == [0, 1, 2]
    assert [p[:1] for f in files for p in payloads(f.path)] == [b"%d" % n for n in range(6)]
    assert {oct(f.path.stat().st_mode & 0o777) for f in files} == {"0o600"}


def test_other_files_beside_the_database_are_no_journals(tmp_path: Path) -> None:
    for name in ("f.db-journal", "f.db.journal", "f.db.run_1.x.journal", "g.db.run_1.0.journal"):
        (tmp_path / name).write_bytes(b"")
    assert journals(tmp_path / "f.db") == []
    (tmp_path / "f.db.run_1.0.journal").write_bytes(b"something else altogether")
    (found,) = journals(tmp_path / "f.db")
    assert payloads(found.path) == []
    assert is_damaged(found.path, 0)


async def test_all_who_wait_for_the_disk_share_few_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Journal(tmp_path / "f.db", "run_1")
    made.append(b"x")
    count = 0
    fdatasync = os.fdatasync

    def counted(descriptor: int) -> None:
        nonlocal count
        count += 1
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)
    syncer = Syncer(made)
    await asyncio.gather(*(syncer.sync() for _ in range(100)))
    syncer.close()
    made.close()
    assert 1 <= count <= 10
