"""The units for systemd: it has no complaint of them, and does with them what they are for."""

import re
import shutil
import sqlite3
import subprocess
from contextlib import contextmanager

import pytest

from tests.e2e.hub_process import POLICY, Lab
from tests.fake_nvml import build
from tests.infra.booted import UID, UNITS, booted, why_not
from tests.waiting import until

NODE, SITE = "commonpool-node-agent.service", "commonpool-site-agent.service"
ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="apt-get install systemd")


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ANALYZE), *words], capture_output=True, text=True, timeout=60, check=False
    )


@needs_analyze
@pytest.mark.parametrize("unit", [NODE, SITE])
def test_systemd_finds_nothing_wrong_with_a_unit(unit, tmp_path):
    """All but the program's path, which is of the machine that it is installed on."""
    here = tmp_path / unit
    text = (UNITS / unit).read_text()
    here.write_text(text.replace("/opt/commonpool/bin/commonpool", "/bin/true"))
    told = analyze("verify", "--man=no", "--recursive-errors=no", str(here))
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


@needs_analyze
@pytest.mark.parametrize(
    ("unit", "most"),
    [
        pytest.param(NODE, 3.5, id="the node agent's runs are programs of people, with GPUs"),
        pytest.param(SITE, 1.7, id="the site agent speaks HTTP, and nothing else"),
    ],
)
def test_a_unit_may_do_little_more_than_its_work(unit, most):
    """By systemd's own count, of 0 to 10."""
    told = analyze("security", "--offline=true", "--no-pager", str(UNITS / unit))
    exposed = re.search(r"exposure level for \S+: ([0-9.]+)", told.stdout)
    assert exposed is not None, told.stderr
    assert float(exposed[1]) <= most, told.stdout


NODE_SETTINGS = """\
COMMONPOOL_HUB={url}
COMMONPOOL_POOL=lab-pool
COMMONPOOL_NODES=["lab-1"]
COMMONPOOL_EXPORTER_PORT=0
LD_LIBRARY_PATH=/opt/commonpool/nvml
PATH=/opt/commonpool/bin:/usr/bin:/bin
PYTHONDONTWRITEBYTECODE=1
"""
SITE_SETTINGS = """\
COMMONPOOL_HUB={url}
COMMONPOOL_SITE=lab
PYTHONDONTWRITEBYTECODE=1
"""
LOGGED = "[Service]\nStandardError=append:/opt/commonpool/{unit}.log\n"


@pytest.mark.machines
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_both_units_run_under_a_real_systemd(tmp_path):
    """They start, speak to a hub, are confined, and come back when they are killed."""
    inside = tmp_path / "inside"
    (inside / "opt" / "nvml").mkdir(parents=True)
    build(inside / "opt" / "nvml")
    with hub_of_a_lab(tmp_path / "hub") as hub:
        files = {
            "etc/commonpool/node-agent.env": NODE_SETTINGS.format(url=hub.url),
            "etc/commonpool/node.token": hub.token("lab", "node"),
            "etc/commonpool/site-agent.env": SITE_SETTINGS.format(url=hub.url),
            "etc/commonpool/site.token": hub.token("lab", "site"),
        }
        for unit in (NODE, SITE):
            files[f"etc/systemd/system/{unit}.d/log.conf"] = LOGGED.format(unit=unit)
        with booted(inside, files) as systemd, told_where_it_fails(systemd):
            for unit in (NODE, SITE):
                systemd.systemctl("start", unit)
            until(
                lambda: has_spoken(hub, "SELECT 1 FROM sites WHERE id = 'lab' AND seen_at > 0"), 60
            )
            until(lambda: has_spoken(hub, "SELECT 1 FROM nodes WHERE id = 'lab-1' AND usable"), 60)
            agent = int(systemd.show(NODE, "MainPID"))
            assert "group=cgroup" in until(lambda: line_of(systemd, "launcher_ready"), 30)
            assert_confined(systemd, agent, UID)
            assert_confined(systemd, int(systemd.show(SITE, "MainPID")), None)
            run = started_in_a_group_of_a_run(systemd)
            systemd.inside("kill", "-9", str(agent))
            again = until(lambda: another(systemd, agent), 30)
            assert systemd.inside("ps", "-o", "comm=", "-p", str(run)) == "sleep"
            systemd.systemctl("stop", NODE, SITE)
            assert systemd.show(NODE, "Result") == systemd.show(SITE, "Result") == "success"
            left = set(map(int, systemd.inside("ps", "-eo", "pid=").split()))
            assert run in left
            assert again not in left


@contextmanager
def hub_of_a_lab(data):
    data.mkdir()
    policy = data / "lab.yaml"
    policy.write_text(POLICY)
    made = Lab(data)
    made.command("admin", "migrate", "--data", str(data))
    made.command("policy", "apply", "--data", str(data), str(policy))
    try:
        made.start_hub()
        yield made
    finally:
        made.stop()


@contextmanager
def told_where_it_fails(systemd):
    """Add what the units said to whatever is found wrong."""
    try:
        yield
    except AssertionError as error:
        for unit in (NODE, SITE):
            error.add_note(systemd.systemctl("show", unit, "-p", "Result,SubState,ExecMainStatus"))
            error.add_note(systemd.inside("sh", "-c", f"tail -n 40 /opt/commonpool/{unit}.log"))
        raise


def has_spoken(hub, query):
    with sqlite3.connect(f"file:{hub.data / 'hub.db'}?mode=ro", uri=True) as db:
        assert db.execute(query).fetchone() == (1,), "not yet"
    return True


def line_of(systemd, event):
    said = systemd.inside("cat", f"/opt/commonpool/{NODE}.log")
    return next((line for line in said.splitlines() if event in line), "")


def assert_confined(systemd, pid, uid):
    """No rights of root, no way to get any, and calls and mounts of its own."""
    said = dict(
        line.split(":\t", 1)
        for line in systemd.inside("cat", f"/proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    if uid is not None:
        assert said["Uid"].split() == [str(uid)] * 4
    assert "0" not in said["Uid"].split()
    assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")
    assert {int(said[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    mounts = systemd.inside("cat", f"/proc/{pid}/mounts").splitlines()
    (options,) = [words[3] for words in map(str.split, mounts) if words[1] == "/etc"][-1:]
    assert "ro" in options.split(",")


def started_in_a_group_of_a_run(systemd):
    """Start a program as the agent starts a run's: with its rights, in a group below its own."""
    unit = f"/sys/fs/cgroup{systemd.show(NODE, 'ControlGroup')}"
    run = f"{unit}/commonpool/cp-x-1"
    as_agent = f"mkdir {run} && echo $$ > {run}/cgroup.procs && exec sleep 600"
    rights = f"setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs"
    enter = f"echo $$ > {unit}/cgroup.procs && exec {rights} sh -c '{as_agent}'"
    systemd.inside("setsid", "-f", "sh", "-c", f"exec > /dev/null 2>&1; {enter}")
    return int(until(lambda: systemd.inside("sh", "-c", f"cat {run}/cgroup.procs || true"), 30))


def another(systemd, agent):
    now = int(systemd.show(NODE, "MainPID"))
    assert now not in {0, agent}, "not yet"
    return now
