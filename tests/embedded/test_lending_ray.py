"""README's walk with real Ray: an idle lease is lent, and its owner takes it back (R18)."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import belonging
from tests.embedded.test_telemetry_ray import commonpool, fleet
from tests.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
REPORT_SECONDS, LOOK_SECONDS, NOTICE_SECONDS = 3, 5, 2
"""How often nodes report, and the hub looks where leases are lent; what the policy promises."""
TEARDOWN_SECONDS = 60
"""What a busy machine takes to fence a Ray cluster beyond that; it is 4 on two idle cores."""
START_SECONDS = 300
"""Until a Ray cluster runs, on a busy machine; it is 25 on two idle cores."""
STEPS = "notice: 2s, idle_grace: 1s, idle_warn: 1s, idle_lend: 5s"


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "data")
    yield layout
    commonpool(layout, "down")
    assert belonging(layout) == []


@pytest.fixture
def up(layout, tmp_path):
    """Return the instance, with steps against idle leases in the institution's tier."""
    argv = [sys.executable, "-m", "scheduler.main", "up", "--data", str(layout.data)]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("COMMONPOOL_", "RAY_"))}
    quick = clean | {"COMMONPOOL_NODE_REPORT_SECONDS": str(REPORT_SECONDS)}
    words = [*argv, "--hub-port", "0", "--no-portal"]
    subprocess.run(words, capture_output=True, text=True, env=quick, check=True)
    demo = (ROOT / "infra/policies/demo.yaml").read_text(encoding="utf-8")
    policy, count = re.subn(r"(max_time_limit: 14d, )notice: 10s", rf"\g<1>{STEPS}", demo)
    assert count == 1
    # iris's account is here by an agreement, whose promise goes before the tier's.
    policy, count = re.subn(
        r"(lender: state-u\n.*?recall_notice: )10s", r"\g<1>2s", policy, count=1, flags=re.DOTALL
    )
    assert count == 1
    file = tmp_path / "lend.yaml"
    file.write_text(policy, encoding="utf-8")
    as_admin = ("--as", "admin", "--reason", "to see idle leases lent")
    apply = [*argv[:3], "policy", "apply", str(file), *as_admin, *argv[4:]]
    subprocess.run(apply, capture_output=True, text=True, env=clean, check=True)
    return layout


def submit(layout, who, *words, program):
    asked = ("--as", who, "--json", "--gpus-per-node", "8", "--tier", "institution")
    done = commonpool(layout, "submit", *asked, *words, "--", program)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["id"]


def happened(layout, who, job):
    """Return a job's history: what happened, and in which words."""
    done = commonpool(layout, "explain", "--as", who, "--json", job)
    assert done.returncode == 0, done.stdout + done.stderr
    return {one["event"]: one["sentence"] for one in json.loads(done.stdout)["history"]}


def has_happened(layout, job, event):
    """Return whether a job's history has it: asked again and again, so without a process each time.

    Commands at every moment would have a core of the two that Ray has to start on.
    """
    query = "SELECT 1 FROM job_events WHERE job_id = ? AND event = ?"
    with contextlib.closing(
        sqlite3.connect(f"file:{layout.data / 'hub.db'}?mode=ro", uri=True)
    ) as db:
        return db.execute(query, (job, event)).fetchone() is not None


def holdings(layout):
    """Return who has GPUs where: node, run, account, and whether on another's lease."""
    return {
        (name, one["run"], one["account"], one["guest"])
        for name, node in fleet(layout).items()
        for gpu in node["gpus"]
        for one in gpu["held_by"]
    }


def test_an_idle_lease_is_lent_and_its_guest_is_gone_within_the_notice_once_it_works(up, tmp_path):
    work = tmp_path / "work"
    waits = f"until [ -e {work} ]; do sleep 0.2; done; python -c 'while True: pass'"
    host = submit(up, "alex", "--nodes", "2", "--time-limit", "30m", program=waits)
    guest = submit(up, "iris", "--priority", "background", program="python -c 'while True: pass'")
    until(lambda: has_happened(up, guest, "running"), 2 * START_SECONDS)
    seen_there = holdings(up)
    ((node, run, _, _),) = [one for one in seen_there if one[2:] == ("acme-robotics", True)]
    assert run == f"cp-{guest}-1"
    assert (node, f"cp-{host}-1", "state-u-nlp", False) in seen_there

    work.touch()
    seen = REPORT_SECONDS + LOOK_SECONDS
    gone = seen + NOTICE_SECONDS + TEARDOWN_SECONDS
    until(lambda: has_happened(up, host, "guest_left"), gone)
    told = happened(up, "alex", host)
    assert {"running", "idle_warned", "lease_lent", "guest_started"} <= told.keys()
    assert "its lease is lent no more" in told["works_again"]
    assert {"recalled", "preempted", "requeued"} <= happened(up, "iris", guest).keys()
    page = json.loads(commonpool(up, "recalls", "--as", "alex", "--json").stdout)
    (pair,) = [one for one in page["lenders"] if one["lender"] == "state-u-nlp"]
    assert (pair["recalls"], pair["kept"] + pair["late"]) == (1, 1)
