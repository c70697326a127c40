"""Logs on disk: written by offset, read over attempts, never more than is kept."""

import asyncio
import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import StorageUnavailable
from scheduler.files import FileStore, LogGap, whole_characters


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path, 100)


async def read(store, *runs, offset=0, limit=10_000):
    return await store.read_log("j1", runs, offset, limit)


async def test_pieces_in_order_make_the_log(store):
    assert await store.append_log("j1", "r1", 0, b"one\n") == 4
    assert await store.append_log("j1", "r1", 4, b"two\n") == 8
    assert await read(store, "r1") == (b"one\ntwo\n", 8)


async def test_a_piece_after_a_gap_is_told_where_to_go_on(store):
    await store.append_log("j1", "r1", 0, b"one\n")
    with pytest.raises(LogGap) as caught:
        await store.append_log("j1", "r1", 5, b"x")
    assert caught.value.next_offset == 4
    assert await read(store, "r1") == (b"one\n", 4)


async def test_beyond_the_limit_one_line_says_so_and_the_sender_goes_on(store):
    assert await store.append_log("j1", "r1", 0, b"a" * 90) == 90
    assert await store.append_log("j1", "r1", 90, b"b" * 50) == 140
    assert await store.append_log("j1", "r1", 140, b"c" * 50) == 190
    assert await store.append_log("j1", "r1", 90, b"b" * 50) == 140
    content, _ = await read(store, "r1")
    assert content.startswith(b"a" * 90 + b"b" * 10 + b"\n[commonpool] ")
    assert content.count(b"[commonpool]") == 1
    assert store.has_log("j1", "r1", 190)


async def test_a_log_of_exactly_the_limit_is_whole(store):
    await store.append_log("j1", "r1", 0, b"a" * 100)
    assert await read(store, "r1") == (b"a" * 100, 100)
    assert await store.append_log("j1", "r1", 100, b"") == 100
    assert store.has_log("j1", "r1", 100)
    assert not store.has_log("j1", "r1", 101)


async def test_attempts_are_read_in_order_with_a_line_between(store):
    await store.append_log("j1", "r1", 0, b"cut off")
    await store.append_log("j1", "r3", 0, b"third\n")
    expected = b"cut off\n[commonpool] next attempt: r2\n[commonpool] next attempt: r3\nthird\n"
    assert await read(store, "r1", "r2", "r3") == (expected, len(expected))
    assert store.log_size("j1", ("r1", "r2", "r3")) == len(expected)


async def test_a_log_that_is_not_there_is_empty(store):
    assert await read(store, "r1") == (b"", 0)
    assert await read(store) == (b"", 0)
    assert store.log_size("j1", ("r1",)) == 0
    assert store.has_log("j1", "r1", 0)
    assert not store.has_log("j1", "r1", 1)


async def test_no_id_leads_out_of_the_folder(store):
    for job, run in (("..", "r"), ("j", "../r"), ("j", ""), ("a/b", "r"), ("j", "r\0"), ("", "r")):
        with pytest.raises(ValueError, match="not an id"):
            await store.append_log(job, run, 0, b"x")


async def test_a_full_disk_is_storage_unavailable_and_says_so(store, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        await store.append_log("j1", "r1", 0, b"x")


PIECES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)
LOG = bytes(range(65, 125))


@given(PIECES, st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_repeated_and_overlapping_pieces_change_nothing(pieces, limit):
    """Whatever slices of one log come, in whatever order: a prefix of it is stored."""
    folder = Path(tempfile.mkdtemp(prefix="cp-log-"))
    try:
        asyncio.run(_append_all(folder, pieces, limit))
    finally:
        shutil.rmtree(folder)


async def _append_all(folder, pieces, limit):
    store = FileStore(folder, limit)
    have = 0
    for start, length in pieces:
        data = LOG[start : start + length]
        if start > have and have <= limit:
            with pytest.raises(LogGap) as caught:
                await store.append_log("j1", "r1", start, data)
            assert caught.value.next_offset == have
            continue
        after = await store.append_log("j1", "r1", start, data)
        if have <= limit:
            assert after == max(have, start + len(data))
        have = max(have, start + len(data))
        stored, _ = await store.read_log("j1", ["r1"], 0, 10_000)
        kept = LOG[:have] if have <= limit else LOG[:limit]
        assert stored[: len(kept)] == kept
        assert (len(stored) > limit) == (have > limit)


@given(
    logs=st.lists(st.text(st.sampled_from("aé€😀\n"), max_size=20), min_size=1, max_size=3),
    limit=st.integers(4, 30),
)
@settings(max_examples=40, deadline=None)
def test_pages_of_any_size_join_to_the_whole_and_cut_no_character(logs, limit):
    folder = Path(tempfile.mkdtemp(prefix="cp-log-"))
    try:
        asyncio.run(_read_in_pages(folder, logs, limit))
    finally:
        shutil.rmtree(folder)


async def _read_in_pages(folder, logs, limit):
    store = FileStore(folder, 1000)
    runs = [f"r{number}" for number in range(len(logs))]
    for run, text in zip(runs, logs, strict=True):
        await store.append_log("j1", run, 0, text.encode())
    whole, end = await store.read_log("j1", runs, 0, 100_000)
    assert end == len(whole) == store.log_size("j1", runs)
    joined, offset = "", 0
    while offset < end:
        piece, after = await store.read_log("j1", runs, offset, limit)
        assert after == offset + len(piece)
        assert piece
        joined, offset = joined + piece.decode(), after
    assert joined == whole.decode()


@given(st.binary(max_size=12))
@settings(deadline=None)
def test_only_a_character_that_is_cut_off_is_held_back(data):
    kept = whole_characters(data)
    assert 0 <= len(data) - kept <= 3
    apart = [part.decode(errors="replace") for part in (data[:kept], data[kept:])]
    assert "".join(apart) == data.decode(errors="replace")


@given(st.text(max_size=6), st.integers(0, 3))
@settings(deadline=None)
def test_whole_text_is_never_held_back_and_a_cut_one_always(text, cut):
    data = text.encode()
    assert whole_characters(data) == len(data)
    if data and cut:
        kept = data[: max(0, len(data) - cut)]
        kept[: whole_characters(kept)].decode()
