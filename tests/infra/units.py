"""Both agents' units under a systemd of a test's own, and a hub that they speak to."""

import sqlite3
from contextlib import contextmanager

from tests.e2e.hub_process import POLICY, Lab
from tests.fake_nvml import build
from tests.infra.booted import booted
from tests.waiting import until

NODE, SITE = "commonpool-node-agent.service", "commonpool-site-agent.service"
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


@contextmanager
def hub_of_a_lab(data, policy=POLICY, kind=Lab):
    """A hub that runs, with one site and its pool; `kind` says how it is set."""
    data.mkdir()
    (data / "lab.yaml").write_text(policy)
    made = kind(data)
    made.command("admin", "migrate", "--data", str(data))
    made.command("policy", "apply", "--data", str(data), str(data / "lab.yaml"))
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


@contextmanager
def both_units(folder, hub, more=""):
    """Boot a systemd with both units started, speaking to `hub`; `more` is set for the node's."""
    (folder / "opt" / "nvml").mkdir(parents=True)
    build(folder / "opt" / "nvml")
    files = {
        "etc/commonpool/node-agent.env": NODE_SETTINGS.format(url=hub.url) + more,
        "etc/commonpool/node.token": hub.token("lab", "node"),
        "etc/commonpool/site-agent.env": SITE_SETTINGS.format(url=hub.url),
        "etc/commonpool/site.token": hub.token("lab", "site"),
    }
    for unit in (NODE, SITE):
        files[f"etc/systemd/system/{unit}.d/log.conf"] = LOGGED.format(unit=unit)
    with booted(folder, files) as systemd, told_where_it_fails(systemd):
        for unit in (NODE, SITE):
            systemd.systemctl("start", unit)
        until(lambda: has_spoken(hub, "SELECT 1 FROM sites WHERE id = 'lab' AND seen_at > 0"), 60)
        until(lambda: has_spoken(hub, "SELECT 1 FROM nodes WHERE id = 'lab-1' AND usable"), 60)
        yield systemd


def has_spoken(hub, query):
    with sqlite3.connect(f"file:{hub.data / 'hub.db'}?mode=ro", uri=True) as db:
        assert db.execute(query).fetchone() == (1,), "not yet"
    return True


def said(systemd):
    """Return what the node agent has logged."""
    return systemd.inside("cat", f"/opt/commonpool/{NODE}.log")


def line_of(systemd, event):
    return next((line for line in said(systemd).splitlines() if event in line), "")


def assert_confined(systemd, pid, uid):
    """No rights of root, no way to get any, and calls and mounts of its own."""
    told = dict(
        line.split(":\t", 1)
        for line in systemd.inside("cat", f"/proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    if uid is not None:
        assert told["Uid"].split() == [str(uid)] * 4
    assert "0" not in told["Uid"].split()
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
    assert {int(told[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    mounts = systemd.inside("cat", f"/proc/{pid}/mounts").splitlines()
    (options,) = [words[3] for words in map(str.split, mounts) if words[1] == "/etc"][-1:]
    assert "ro" in options.split(",")
