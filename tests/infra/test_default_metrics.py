"""What is shipped works with what an agent shows when nobody has asked for more."""

import re
from pathlib import Path

import pytest

from agents.metric_sets import DEFAULT
from tests.infra.programs import INFRA

NAME = re.compile(r"\b(?:DCGM_FI_\w+|commonpool_gpu_\w+)")
SHIPPED = sorted(
    [*(INFRA / "prometheus/rules").glob("*.yml"), *(INFRA / "grafana/dashboards").glob("*.json")]
)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_rules_and_dashboards_ask_for_names_of_the_default_set_alone(file: Path):
    asked = {name.removesuffix("_total") for name in NAME.findall(file.read_text())}
    assert asked <= DEFAULT


def test_they_do_ask_for_some():
    names = {name for file in SHIPPED for name in NAME.findall(file.read_text())}
    assert {"DCGM_FI_PROF_SM_ACTIVE", "commonpool_gpu_xid_events_total"} <= names


def test_the_dashboard_that_most_people_have_is_served():
    """Source: Grafana's dashboard 12239, of NVIDIA's dcgm-exporter."""
    assert {
        "DCGM_FI_DEV_GPU_TEMP",
        "DCGM_FI_DEV_POWER_USAGE",
        "DCGM_FI_DEV_SM_CLOCK",
        "DCGM_FI_DEV_GPU_UTIL",
        "DCGM_FI_DEV_FB_USED",
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    } <= DEFAULT
