"""Records: on the disk before anything happens, one agent at a time, damage noticed."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from agents.site.records import DataFolderInUse, Ledger, Phase, RecordStore, RunRecord
from tests.agents.fake_hub import a_lease

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def a_record(run: str = "cp-j1-1") -> RunRecord:
    return RunRecord(lease=a_lease(run), reserved_at=NOON)


def test_what_was_saved_is_there_for_the_next_agent(tmp_path):
    store = RecordStore(tmp_path)
    saved = store.save(a_record())
    Ledger(store, saved.run).write(phase=Phase.SUBMITTING)
    store.close()
    again = RecordStore(tmp_path)
    assert again.records == {saved.run: saved.model_copy(update={"phase": Phase.SUBMITTING})}
    again.drop(saved.run)
    again.close()
    assert RecordStore(tmp_path).records == {}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"lease": {"run": "cp-j1', id="cut off"),
        pytest.param(b"\x00\xff\x00", id="not text"),
        pytest.param(a_record("cp-j2-1").model_dump_json().encode(), id="of another run"),
    ],
)
def test_a_record_that_cannot_be_read_is_set_apart_and_the_others_are_kept(tmp_path, content):
    store = RecordStore(tmp_path)
    store.save(a_record("cp-j9-1"))
    store.path("cp-j1-1").write_bytes(content)
    store.close()
    again = RecordStore(tmp_path)
    assert set(again.records) == {"cp-j9-1"}
    assert again.damaged == {"cp-j1-1"}


def test_a_half_written_record_does_not_replace_the_whole_one(tmp_path):
    store = RecordStore(tmp_path)
    saved = store.save(a_record())
    store.path(saved.run).with_suffix(".new").write_bytes(b'{"lease"')
    store.close()
    assert RecordStore(tmp_path).records == {saved.run: saved}


def test_a_disk_that_refuses_leaves_memory_as_the_disk_is(tmp_path, monkeypatch):
    store = RecordStore(tmp_path)
    saved = store.save(a_record())

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Ledger(store, saved.run).write(phase=Phase.SUBMITTED)
    assert store.records[saved.run] == saved


def test_a_second_agent_is_told_who_has_the_folder(tmp_path):
    store = RecordStore(tmp_path)
    with pytest.raises(DataFolderInUse, match=rf"pid {os.getpid()}\).*--data"):
        RecordStore(tmp_path)
    store.close()
    RecordStore(tmp_path).close()


def test_the_folder_is_free_again_after_its_agent_was_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from agents.site.records import RecordStore;"
        "s = RecordStore(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    agent = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert agent.stdout is not None
    assert agent.stdout.readline() == b"held\n"
    with pytest.raises(DataFolderInUse):
        RecordStore(tmp_path)
    agent.kill()
    agent.wait()
    agent.stdout.close()
    RecordStore(tmp_path).close()
