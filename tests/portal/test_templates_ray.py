"""Each template as a real Ray job on one local Ray: it succeeds, in time, with real figures."""

import hashlib
import re
from contextlib import suppress

import httpx
import pytest

from portal.catalogue import templates
from tests.ray_api.ray_head import ray_head
from tests.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

LONGEST_SECONDS = 60
# A figure that its program prints, and between what it must be to be real work done right.
FIGURES = {
    "multimodality": (r"right digit in the nearest caption: ([\d.]+)", 0.8, 1),
    "distillation": (r"distilled at temperature 2: accuracy ([\d.]+)", 0.9, 1),
    "edge": (r"within 0.02 of the full accuracy: (\d+) bits", 2, 8),
    "data": (r"found (\d+) of these", 110, 120),
    "adaptation": (r"rank 8 .* accuracy ([\d.]+)", 0.85, 1),
    "reasoning": (r" 45 .* ([\d.]+)\n", 0.85, 1),
    "interpretability": (r"control .* ([\d.]+)\n", 0.4, 0.6),
    "provenance": (r"(\d) of 4 were noticed", 4, 4),
    "safety": (r"round 3: attacks pass ([\d.]+)", 0, 0.1),
    "system_of_systems": (r"all four: .* of all together ([\d.]+)", 0, 0.5),
    "benchmarking": (r"object store: (\d+) MB/s", 10, 100_000),
}


@pytest.fixture(scope="module")
def head():
    with ray_head("templates-1", gpus=1) as running:
        yield running.url


def test_every_template_has_a_figure_to_look_at():
    assert set(FIGURES) == {one.name for one in templates()}


@pytest.mark.parametrize("one", templates(), ids=lambda one: one.name)
def test_a_template_succeeds_in_under_a_minute_with_a_figure_that_is_right(head, one):
    data = one.package()
    name = f"_ray_pkg_{hashlib.sha256(data).hexdigest()[:16]}.zip"
    with httpx.Client(base_url=head, trust_env=False, timeout=60) as ray:
        assert ray.put(f"/api/packages/gcs/{name}", content=data).status_code == 200
        job = ray.post(
            "/api/jobs/",
            json={
                "entrypoint": one.said.entrypoint,
                "runtime_env": {"working_dir": f"gcs://{name}"},
            },
        ).json()["submission_id"]
        found = {}

        def over():
            with suppress(httpx.HTTPError):
                found.update(ray.get(f"/api/jobs/{job}").json())
            return found.get("status") in {"SUCCEEDED", "FAILED", "STOPPED"}

        until(over, seconds=180)
        log = ray.get(f"/api/jobs/{job}/logs").json()["logs"]
    assert found["status"] == "SUCCEEDED", log
    took = (found["end_time"] - found["start_time"]) / 1000
    print(f"{one.name}: {took:.1f} s\n{log}")  # noqa: T201  # what it printed, with -s
    assert took < LONGEST_SECONDS, log
    pattern, low, high = FIGURES[one.name]
    figure = float(re.search(pattern, log).group(1))
    assert low <= figure <= high, log
    assert "Warning" not in log
