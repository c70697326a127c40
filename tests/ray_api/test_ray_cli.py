"""Ray's own, unmodified clients against a hub that is a process of its own.

The newest `ray job` and one of 2024 (`make old-client`), their SDKs, and a site that runs
what it is leased in a shell. No Ray cluster is needed: the queue is ours, and Ray's
client only ever sees our side of the wire.
"""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.ray_api.processes import ROOT, HubProcess, RayClient, hub_process, shell_site
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)

CLIENTS = {"2.60.0": Path(sys.executable).parent, "2.10.0": ROOT / ".venv-ray-2.10" / "bin"}
# Says that it began, and ends when it is let: so a test knows where it stands.
GATED = "echo began; until [ -e {gate} ]; do sleep 0.05; done; echo finished"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with hub_process(tmp_path_factory.mktemp("hub")) as running, shell_site(running):
        yield running


def client_of(version: str, hub: HubProcess, home: Path) -> RayClient:
    if not (CLIENTS[version] / "ray").exists():
        pytest.skip(f"there is no Ray {version} here: make old-client")
    return RayClient(version, CLIENTS[version], hub, home)


@pytest.fixture(params=CLIENTS)
def ray(request, hub, tmp_path) -> RayClient:
    return client_of(request.param, hub, tmp_path)


@pytest.fixture
def gate(tmp_path) -> Path:
    return tmp_path / "gate"


def name(request: pytest.FixtureRequest) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", request.node.name)[-60:]


def status(ray: RayClient, job: str) -> str:
    with ray.hub.client("dana") as http:
        return http.get(f"/api/jobs/{job}").json()["status"]


def code_folder(home: Path, program: str) -> Path:
    folder = home / "code"
    folder.mkdir()
    (folder / "main.py").write_text(program)
    return folder


def test_a_working_dir_is_uploaded_run_and_followed_to_exit_code_0(ray, request, tmp_path):
    folder = code_folder(tmp_path, "import os; print('hello from', os.environ['WHO'])")
    job = name(request)
    code, output = ray.job(
        "submit",
        *("--working-dir", str(folder), "--submission-id", job, "--entrypoint-num-gpus", "2"),
        *("--runtime-env-json", json.dumps({"env_vars": {"WHO": "the site"}})),
        *("--metadata-json", json.dumps({"commonpool.gpus_per_node": "4"})),
        *("--", sys.executable, "main.py"),
    )
    assert code == 0, output
    assert "hello from the site" in output
    assert "[commonpool] starting at site lab: pool lab-pool" in output
    assert "4 GPUs on" in output
    assert f"'{job}' succeeded" in output


def test_a_failed_job_ends_the_client_with_exit_code_1(ray):
    code, output = ray.job("submit", "--", "sh", "-c", "echo broken; exit 3")
    assert code == 1
    assert "broken" in output
    assert "exited with code 3" in output
    assert "failed" in output


def test_no_wait_follow_status_list_stop_and_delete(ray, request, gate):
    job = name(request)
    gated = GATED.format(gate=gate)
    code, output = ray.job("submit", "--no-wait", "--submission-id", job, "--", "sh", "-c", gated)
    assert code == 0
    assert job in output
    assert "began" not in output
    with ray.start("logs", "-f", job) as follower:
        until_printed(follower, "began")
        assert said(ray.job("status", job), "RUNNING")
        assert said(ray.job("list"), job)
        assert said(ray.job("stop", job), "stopped")
        rest, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert "finished" not in rest
    assert status(ray, job) == "STOPPED"
    assert said(ray.job("delete", job), job)
    with ray.hub.client("dana") as http:
        assert http.get(f"/api/jobs/{job}").status_code == 404


def said(done: tuple[int, str], words: str) -> bool:
    code, output = done
    assert code == 0, output
    return words in output


def until_printed(process, words: str) -> str:
    """Read lines until one holds the words; the test's own time limit ends the wait."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"ended without {words!r}: {''.join(lines)}")


def test_who_waits_is_told_why_and_ctrl_c_of_another_client_ends_no_job(ray, request, gate):
    """The first takes both nodes, the second waits for it and says so."""
    job = name(request)
    whole = {"commonpool.nodes": "2", "commonpool.gpus_per_node": "8"}
    asked = ("--submission-id", job, "--metadata-json", json.dumps(whole))
    with ray.start("submit", *asked, "--", "sh", "-c", GATED.format(gate=gate)) as first:
        until_printed(first, "began")
        with ray.hub.client("dana") as http:
            body = {"entrypoint": "echo my turn", "metadata": whole}
            second = http.post("/api/jobs/", json=body).json()["submission_id"]
        with ray.start("logs", "-f", second) as follower:
            assert "position 1 in lab-a" in until_printed(follower, "[commonpool] queued: ")
            first.send_signal(signal.SIGINT)
            first.communicate(timeout=60)
            assert first.returncode != 0
            assert status(ray, job) == "RUNNING"
            gate.touch()
            rest, _ = follower.communicate(timeout=60)
    assert "[commonpool] starting at site lab" in rest
    assert "my turn" in rest
    assert follower.returncode == 0
    assert status(ray, job) == "SUCCEEDED"


def test_a_wrong_token_is_told_as_rays_client_tells_it(ray):
    code, output = ray.job("list", who="cp_user_" + "x" * 43)
    assert code == 1
    if ray.version == "2.10.0":  # it asks for the version first, and shows no body
        assert "401 Client Error: Unauthorized" in output
    else:
        assert "Authentication required: commonpool: The token is not known to this hub" in output


SDK = """
import asyncio, json, sys
from ray.job_submission import JobSubmissionClient
address, token, foreign, folder, python, name = sys.argv[1:]
client = JobSubmissionClient(address, headers={"Authorization": "Bearer " + token})
env = {"working_dir": folder, "env_vars": {"A": "b"}}
job = client.submit_job(
    entrypoint=python + " main.py", runtime_env=env, submission_id=name,
    metadata={"commonpool.gpus_per_node": "4", "note": "mine"},
    entrypoint_num_cpus=1, entrypoint_num_gpus=2, entrypoint_memory=1000,
    entrypoint_resources={"x": 1},
)
async def tail():
    return "".join([lines async for lines in client.tail_job_logs(job)])
tailed = asyncio.run(tail())
info = client.get_job_info(job)
def refused(call, *arguments, **fields):
    try:
        return call(*arguments, **fields)
    except RuntimeError as error:
        return str(error)
other = JobSubmissionClient(address, headers={"Authorization": "Bearer " + foreign})
print(json.dumps({
    "tailed": tailed, "logs": client.get_job_logs(job),
    "status": client.get_job_status(job).value, "metadata": info.metadata,
    "env": info.runtime_env["env_vars"], "code": info.driver_exit_code, "type": info.type.value,
    "listed": job in [one.submission_id for one in client.list_jobs()],
    "taken": refused(client.submit_job, entrypoint="false", submission_id=name),
    "foreign": refused(other.get_job_status, job),
    "half": refused(client.submit_job, entrypoint="true", entrypoint_num_gpus=0.5),
    "reused": client.submit_job(entrypoint=python + " main.py", runtime_env=env) != job,
    "stopped": client.stop_job(job), "deleted": client.delete_job(job),
    "left": job in [one.submission_id for one in client.list_jobs()],
}))
"""


def test_the_sdk_submits_tails_reads_stops_and_deletes(ray, request, tmp_path):
    folder = code_folder(tmp_path, "print('from the sdk')")
    job = name(request)
    tokens = (ray.hub.tokens["dana"], ray.hub.tokens["alex"])
    words = json.loads(ray.python(SDK, ray.hub.url, *tokens, str(folder), sys.executable, job))
    tailed = words.pop("tailed")
    assert "[commonpool] starting at site lab" in tailed
    assert tailed.endswith("from the sdk\n")
    taken, foreign, half = (words.pop(what) for what in ("taken", "foreign", "half"))
    assert f"Job with submission_id {job} already exists. Please use a different" in taken
    assert f"status code 404: Job {job} does not exist" in foreign
    assert "commonpool: entrypoint_num_gpus may not be 0.5; limit: a whole number" in half
    assert words == {
        "logs": "from the sdk\n",
        "status": "SUCCEEDED",
        "metadata": {"commonpool.gpus_per_node": "4", "note": "mine"},
        "env": {"A": "b"},
        "code": 0,
        "type": "SUBMISSION",
        "listed": True,
        "reused": True,
        "stopped": False,
        "deleted": True,
        "left": False,
    }


LARGE = """
import os, sys
from ray.job_submission import JobSubmissionClient
address, token, file = sys.argv[1:]
client = JobSubmissionClient(address, headers={"Authorization": "Bearer " + token})
try:
    r = client._do_request("PUT", "/api/packages/gcs/_ray_pkg_large.zip",
                           data=open(file, "rb").read())
    print(r.status_code, r.text)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_package_of_101_mib_is_413_for_rays_own_client(hub, tmp_path):
    ray = client_of("2.60.0", hub, tmp_path)
    large = tmp_path / "large.zip"
    with large.open("wb") as file:
        file.truncate(101 * 1024**2)
    said = ray.python(LARGE, hub.url, hub.tokens["dana"], str(large))
    assert said.startswith("413 ")
    assert "100 MiB" in said


def test_a_hub_that_stops_does_not_look_like_the_end_of_the_job(tmp_path, gate):
    """A clean close would have Ray's client print RUNNING and exit 0."""
    with hub_process(tmp_path / "hub") as own, shell_site(own):
        ray = client_of("2.60.0", own, tmp_path)
        entrypoint = GATED.format(gate=gate)
        with ray.start("submit", "--submission-id", "mine", "--", "sh", "-c", entrypoint) as client:
            until_printed(client, "began")
            own.stop()
            output, _ = client.communicate(timeout=30)
        assert client.returncode == 1, output
        assert "close code 1006" in output
        own.start()
        gate.touch()
        until(lambda: status(ray, "mine") == "SUCCEEDED")
        with own.client("dana") as http:
            assert http.get("/api/jobs/mine/logs").json() == {"logs": "began\nfinished\n"}


def test_nothing_of_ours_leaks_rays_settings_into_the_clients():
    assert not [name for name in os.environ if name.startswith(("RAY_AUTH", "RAY_JOB_HEADERS"))]
