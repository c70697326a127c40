"""A full disk and a read-only database: refused with a reason, nothing half-written."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.hub_process import Lab, lab
from tests.waiting import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that a test may fill; only root may mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def post(the: Lab, token: str, name: str) -> httpx.Response:
    body = {"entrypoint": "true", "submission_id": name, "gpus_per_node": 8, "nodes": 2}
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{the.url}/v1/jobs", json=body, headers=headers, timeout=30)


def names(the: Lab, token: str) -> set[str]:
    headers = {"Authorization": f"Bearer {token}"}
    page = httpx.get(f"{the.url}/v1/jobs?limit=500", headers=headers, timeout=30).json()
    return {job["submission_id"] for job in page["jobs"]}


def test_a_full_disk_refuses_with_a_reason_and_recovers_when_there_is_room(small_disk):
    with lab(small_disk / "lab") as the:
        token = the.token("dana", "user")
        assert post(the, token, "before").status_code == 201
        filler = small_disk / "filler"
        fill(filler)
        taken = {"before"}
        refused: list[httpx.Response] = []
        for number in range(2000):
            reply = post(the, token, f"while-{number}")
            if reply.status_code == 201:
                taken.add(f"while-{number}")
                continue
            refused.append(reply)
            break
        assert refused, "the disk never filled"
        problem = refused[0].json()
        assert refused[0].status_code == 503
        assert "disk" in problem["detail"].lower() or "storage" in problem["detail"].lower()
        assert problem["next_step"]
        filler.unlink()
        until(lambda: post(the, token, "after").status_code in {200, 201, 409}, seconds=30)
        assert names(the, token) == taken | {"after"}


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for piece in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * piece)
            except OSError:
                continue
