"""The units for systemd: it has no complaint of them, and does with them what they are for."""

import re
import shutil
import subprocess

import pytest

from tests.infra.booted import UID, UNITS, why_not
from tests.infra.units import NODE, SITE, assert_confined, both_units, hub_of_a_lab, line_of
from tests.waiting import until

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


@pytest.mark.machines
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_both_units_run_under_a_real_systemd(tmp_path):
    """They start, speak to a hub, are confined, and come back when they are killed."""
    with hub_of_a_lab(tmp_path / "hub") as hub, both_units(tmp_path / "inside", hub) as systemd:
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
