"""What a site keeps on disk: checkpoints for the next attempt, packages, and for how long."""

import hashlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from agents.hub import HubAway, HubRefused
from agents.site.environment import Signals
from agents.site.failures import BackendUnavailable
from agents.site.logs import RunLog, Spool
from agents.site.packages import PackageCache
from scheduler.wire.sites import PackageRef
from tests.agents.fake_hub import FakeHub

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=20)
BEFORE = NOW - timedelta(days=14)


def age(path) -> None:
    os.utime(path, (OLD.timestamp(), OLD.timestamp()))


def test_old_checkpoints_go_unless_their_job_has_a_run(tmp_path):
    signals = Signals(tmp_path)
    for job in ("old", "running", "new"):
        folder = signals.folder(job)
        (folder / "state").write_text("1")
        if job != "new":
            age(folder)
    signals.prune({"running"}, BEFORE)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"running", "new"}


def test_an_answer_from_before_the_question_is_no_acknowledgement(tmp_path):
    signals = Signals(tmp_path)
    done = signals.file("cp-j1-1").with_name("cp-j1-1.done")
    done.write_text("")
    age(done)
    assert not signals.acknowledged("cp-j1-1")
    signals.ask("cp-j1-1", "recalled", None)
    assert signals.answered_at("cp-j1-1") == pytest.approx(OLD, abs=timedelta(seconds=1))
    assert not signals.acknowledged("cp-j1-1")
    done.write_text("")
    assert signals.acknowledged("cp-j1-1")
    signals.clear("cp-j1-1")
    assert signals.answered_at("cp-j1-1") is None


def a_package(hub: FakeHub, data: bytes = b"zip" * 200) -> PackageRef:
    sha256 = hashlib.sha256(data).hexdigest()
    hub.packages[sha256] = data
    return PackageRef(uri="gcs://_ray_pkg_1.zip", sha256=sha256, size=len(data))


async def test_a_package_is_fetched_once_and_pruned_when_old(tmp_path):
    hub = FakeHub()
    cache = PackageCache(tmp_path, hub, "here")
    package = a_package(hub)
    await cache.fetch([package])
    hub.packages.clear()
    await cache.fetch([package])
    file = tmp_path / "packages" / package.sha256
    assert file.read_bytes() == b"zip" * 200
    cache.prune(BEFORE)
    assert file.exists()
    age(file)
    cache.prune(BEFORE)
    assert not file.exists()


async def test_a_package_that_arrives_damaged_is_not_kept(tmp_path):
    hub = FakeHub()
    package = a_package(hub)
    hub.packages[package.sha256] = b"something else"
    with pytest.raises(BackendUnavailable, match="damaged"):
        await PackageCache(tmp_path, hub, "here").fetch([package])
    assert list((tmp_path / "packages").iterdir()) == []


async def test_a_package_is_tried_again_when_the_hub_is_back(tmp_path):
    hub = FakeHub()
    package = a_package(hub)
    hub.away = True
    cache = PackageCache(tmp_path, hub, "here")
    with pytest.raises(BackendUnavailable):
        await cache.fetch([package])
    hub.away = False
    await cache.fetch([package])


@pytest.mark.parametrize(
    ("trouble", "arrives"),
    [
        pytest.param(HubAway("gone"), True, id="away"),
        pytest.param(HubRefused(403, "wrong token"), True, id="token refused"),
        pytest.param(HubRefused(404, "no such run"), False, id="run unknown"),
    ],
)
async def test_a_log_waits_for_the_hub_but_not_for_one_that_never_takes_it(
    tmp_path, trouble, arrives
):
    got, troubles = [], [trouble]

    async def deliver(offset, data):
        if troubles:
            raise troubles.pop()
        got.append(data)
        return offset + len(data)

    async def follow(have, over):
        assert have == 0
        yield b"text"
        await over.wait()

    log = RunLog("cp-j1-1", Spool(tmp_path / "log", 100), deliver)
    log.begin(follow)
    await log.finish(5)
    assert got == ([b"text"] if arrives else [])


async def test_a_rest_that_never_comes_is_marked_as_lost(tmp_path):
    got = []

    async def deliver(offset, data):
        got.append(data)
        return offset + len(data)

    async def follow(have, over):  # noqa: ARG001  # as it is called
        yield b"text"
        raise BackendUnavailable("the head is gone")

    log = RunLog("cp-j1-1", Spool(tmp_path / "log", 1000), deliver)
    log.begin(follow)
    await log.finish(0.3)
    assert b"".join(got).startswith(b"text")
    assert b"the rest of the log was lost" in b"".join(got)
