"""The exact command line and environment of each Ray node of a run."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.site.failures import BackendUnavailable
from agents.site.launcher import (
    Launcher,
    LaunchSettings,
    _command,
    _environment,
    _private_folder,
)
from agents.site.ports import PortRegistry
from agents.site.records import Ledger, Phase, RecordStore, RunRecord
from scheduler.clock import SystemClock
from scheduler.core.model import Backend
from scheduler.wire.sites import LeasedNode
from tests.agents.fake_hub import a_lease

NODES = (LeasedNode(node="n1", gpus=(2, 3)), LeasedNode(node="n2", gpus=(0, 5, 7)))


@pytest.fixture
def settings(tmp_path):
    return LaunchSettings(tmp_path, 80_000_000, ("ray",))


@pytest.fixture
def ledger(tmp_path, settings):
    store = RecordStore(tmp_path)
    lease = a_lease(backend=Backend.RAY_PRIVATE, nodes=NODES)
    store.save(RunRecord(lease=lease, reserved_at=datetime(2026, 1, 1, tzinfo=UTC)))
    made = Ledger(store, lease.run)
    Launcher(settings, PortRegistry(tmp_path), SystemClock()).reserve(made)
    yield made
    store.close()


def options(ledger, settings, number) -> dict[str, str]:
    words = _command(ledger.record, number, settings)
    flags = [word for word in words if word.startswith("--")]
    return dict(flag.partition("=")[::2] for flag in flags)


def test_a_reservation_is_written_down_before_anything_is_started(ledger):
    engine = ledger.record.engine
    assert ledger.record.phase is Phase.LAUNCHING
    assert len(engine.secret) == 64
    assert engine.processes == ()
    assert len(engine.ports) == 3 + 2 * 6
    assert len(str(Path(engine.folder).name)) < 20


def test_the_head_sees_the_leased_gpus_of_its_node_and_a_worker_those_of_its(ledger, settings):
    head, worker = options(ledger, settings, 0), options(ledger, settings, 1)
    assert (head["--num-gpus"], worker["--num-gpus"]) == ("2", "3")
    assert (head["--labels"], worker["--labels"]) == (
        "commonpool.io/node=n1",
        "commonpool.io/node=n2",
    )
    env = [_environment("cp-j1-1", node, ledger.record.engine) for node in NODES]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in env] == ["2,3", "0,5,7"]


def test_a_worker_joins_its_head_and_has_no_temp_dir_of_its_own(ledger, settings):
    words = _command(ledger.record, 1, settings)
    head = options(ledger, settings, 0)
    assert words[words.index("--address") + 1] == f"{head['--node-ip-address']}:{head['--port']}"
    assert "--head" not in words
    assert "--temp-dir" in head
    assert "--temp-dir" not in options(ledger, settings, 1)


def test_no_port_and_no_address_is_used_twice(ledger, settings):
    both = [options(ledger, settings, number) for number in (0, 1)]
    ports = [
        value
        for each in both
        for name, value in each.items()
        if name.endswith("-port") or name == "--port"
        if value != "0"
    ]
    assert len(ports) == len(set(ports)) == 15
    assert len({each["--node-ip-address"] for each in both}) == 2
    assert all(each["--min-worker-port"] == each["--max-worker-port"] == "0" for each in both)


def test_the_run_gets_neither_the_agents_secrets_nor_its_settings(ledger, monkeypatch):
    monkeypatch.setenv("COMMONPOOL_TOKEN", "secret")
    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere")
    env = _environment("cp-j1-1", NODES[0], ledger.record.engine)
    assert not {"COMMONPOOL_TOKEN", "RAY_ADDRESS"} & set(env)
    assert (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN"]) == ("token", ledger.record.engine.secret)
    assert list(env)[-1] == "COMMONPOOL_RUN", "titles are written over the first variables"


def test_more_cpus_are_counted_where_the_driver_asks_for_more(ledger, settings):
    lease = ledger.record.lease.model_copy(update={"entrypoint_num_cpus": 12.5})
    ledger.write(lease=lease)
    assert options(ledger, settings, 0)["--num-cpus"] == "15"


def test_a_folder_that_someone_else_made_is_not_used(tmp_path):
    target = tmp_path / "theirs"
    target.mkdir()
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(BackendUnavailable, match="belongs to someone else"):
        _private_folder(link)


def test_the_record_on_disk_is_for_its_owner_only(ledger):
    assert json.loads(ledger.file.read_text())["engine"]["secret"]
    assert ledger.file.parent.stat().st_mode & 0o077 == 0
