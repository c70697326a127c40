"""`/metrics`: what dashboards for dcgm-exporter ask for is there, and nothing that is not known."""

import re
import urllib.request
from urllib.error import URLError

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from agents.metric_sets import DEFAULT, MetricSet
from agents.node.attribution import Holder, Standing
from agents.node.exporter import Exporter, Facts, serve
from agents.node.samples import (
    Condition,
    Driver,
    Fault,
    Gpm,
    Gpu,
    GpuSample,
    MigDevice,
    NodeView,
    Process,
    Readings,
)
from agents.node.scrapes import text
from agents.node.session import Session
from scheduler.wire.reports import SamplerState
from tests.agents.node.test_session import BUSY, UUIDS, read_twice

GPU = Gpu("GPU-aaaa", 3, "NVIDIA H100 80GB HBM3", "00000000:61:00.0", minor=5)
PLAIN = {
    "gpu": "3",
    "UUID": "GPU-aaaa",
    "pci_bus_id": "00000000:61:00.0",
    "device": "nvidia5",
    "modelName": "NVIDIA H100 80GB HBM3",
    "Hostname": "n1",
}
SHORT = {"gpu": "3", "UUID": "GPU-aaaa", "Hostname": "n1"}
# What Grafana's dashboard 12239 and the usual alerts for dcgm-exporter ask for.
DROP_IN = {
    "DCGM_FI_DEV_GPU_TEMP": 61,
    "DCGM_FI_DEV_MEMORY_TEMP": 70,
    "DCGM_FI_DEV_POWER_USAGE": 650,
    "DCGM_FI_DEV_SM_CLOCK": 1980,
    "DCGM_FI_DEV_MEM_CLOCK": 2619,
    "DCGM_FI_DEV_GPU_UTIL": 97,
    "DCGM_FI_DEV_MEM_COPY_UTIL": 41,
    "DCGM_FI_DEV_ENC_UTIL": 0,
    "DCGM_FI_DEV_DEC_UTIL": 0,
    "DCGM_FI_DEV_FB_USED": 4,
    "DCGM_FI_DEV_FB_FREE": 81004,
    "DCGM_FI_DEV_FB_RESERVED": 551,
    "DCGM_FI_DEV_XID_ERRORS": 0,
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": 0,
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": 0,
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": 0,
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": 0,
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": 0,
    "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL": 0,
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": 0,
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 0,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.99,
    "DCGM_FI_PROF_SM_ACTIVE": 0.88,
    "DCGM_FI_PROF_SM_OCCUPANCY": 0.25,
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.5,
    "DCGM_FI_PROF_DRAM_ACTIVE": 0.4,
    "DCGM_FI_PROF_PIPE_FP64_ACTIVE": 0.01,
    "DCGM_FI_PROF_PIPE_FP32_ACTIVE": 0.02,
    "DCGM_FI_PROF_PIPE_FP16_ACTIVE": 0.03,
    "DCGM_FI_PROF_PCIE_TX_BYTES": 2 * 1024**2,
    "DCGM_FI_PROF_PCIE_RX_BYTES": 1024**2,
    "DCGM_FI_PROF_NVLINK_TX_BYTES": 5 * 1024**2,
    "DCGM_FI_PROF_NVLINK_RX_BYTES": 3 * 1024**2,
}


def registry_of(facts, host_label="Hostname", metrics=MetricSet.DEFAULT):
    registry = CollectorRegistry()
    registry.register(Exporter(lambda: facts, "n1", host_label, metrics))
    return registry


def series(facts, **how) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return what a scrape would find, by name."""
    text = generate_latest(registry_of(facts, **how)).decode()
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def view_of(*samples, **changes) -> NodeView:
    given = {
        "state": SamplerState.OK,
        "gpus": tuple(sample.gpu for sample in samples),
        "samples": {sample.gpu.uuid: sample for sample in samples},
        "hears_xids": True,
    }
    return NodeView(**{**given, **changes})


def test_what_the_usual_dashboards_ask_for_is_there_with_their_labels(gpus):
    gpus.write(BUSY)
    session = Session()
    session.open()
    sample = read_twice(session)
    session.close()
    found = series(Facts(view_of(sample)), metrics=MetricSet.ALL)
    values = {name: found[name][0][1] for name in DROP_IN}
    assert values == {name: pytest.approx(value) for name, value in DROP_IN.items()}
    for name in DROP_IN:
        ((labels, _),) = found[name]
        assert set(labels) == set(PLAIN)
    assert "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" in found
    assert "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL" in found


@pytest.mark.parametrize(("metrics", "most"), [(MetricSet.DEFAULT, 30), (MetricSet.ALL, 50)])
def test_a_gpu_costs_no_more_series_than_a_prometheus_can_hold(gpus, metrics, most):
    gpus.write(BUSY)
    session = Session()
    session.open()
    sample = read_twice(session)
    session.close()
    of_gpu = [
        (name, labels)
        for name, values in series(Facts(view_of(sample), holders=()), metrics=metrics).items()
        for labels, _ in values
        if "UUID" in labels
    ]
    assert most - 5 <= len(of_gpu) <= most
    # dcgm-exporter's labels are its own; ours have none that is no Prometheus name.
    assert all(("modelName" in labels) == name.startswith("DCGM_") for name, labels in of_gpu)


def test_the_default_is_a_part_of_all_and_every_name_of_it_is_there(gpus):
    gpus.write(BUSY)
    session = Session()
    session.open()
    sample = read_twice(session)
    session.close()
    job = Holder(sample.gpu, 1, Standing.LEASED, "cp-abc-2", said_job="abc")
    facts = Facts(view_of(sample, xids={(sample.gpu.uuid, 79): 1}), holders=(job,))
    some, every = series(facts), series(facts, metrics=MetricSet.ALL)
    assert some == {name: every[name] for name in some}
    wanted = {"commonpool_gpu_xid_events_total" if n.endswith("events") else n for n in DEFAULT}
    assert wanted == {name for name, values in some.items() if "UUID" in values[0][0]}


def test_what_the_driver_does_not_say_has_no_series():
    found = series(Facts(view_of(GpuSample(GPU, readings=Readings(power_milliwatts=70_000)))))
    of_gpu = {name for name, values in found.items() if "UUID" in values[0][0]}
    assert of_gpu == {"DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_XID_ERRORS", "commonpool_gpu_up"}
    assert found["DCGM_FI_DEV_POWER_USAGE"] == [(PLAIN, 70)]


def test_the_label_of_the_host_may_be_spelled_as_newer_exporters_do():
    view = view_of(GpuSample(GPU, readings=Readings(temperature_celsius=40)))
    ((labels, _),) = series(Facts(view), host_label="hostname")["DCGM_FI_DEV_GPU_TEMP"]
    assert labels == {**{k: v for k, v in PLAIN.items() if k != "Hostname"}, "hostname": "n1"}


@pytest.mark.parametrize("fault", list(Fault))
def test_a_gpu_that_fails_is_down_and_says_nothing_else(fault):
    found = series(Facts(view_of(GpuSample(GPU, fault))))
    assert found["commonpool_gpu_up"] == [(SHORT, 0)]
    assert not [name for name in found if name.startswith("DCGM_FI_PROF") or "POWER" in name]


@pytest.mark.parametrize("state", list(SamplerState))
def test_every_state_of_the_sampler_is_there_from_the_start_and_one_is_so(state):
    found = series(Facts(NodeView(state)))
    values = {labels["state"]: value for labels, value in found["commonpool_agent_sampler_state"]}
    assert values == {one.value: float(one is state) for one in SamplerState}


def test_a_stuck_sampler_shows_its_gpus_as_down_and_no_old_values():
    view = view_of(GpuSample(GPU), state=SamplerState.STUCK, samples={})
    found = series(Facts(view))
    assert found["commonpool_gpu_up"] == [(SHORT, 0)]
    assert found["commonpool_agent_gpus"] == [
        ({"Hostname": "n1", "state": "expected"}, 1),
        ({"Hostname": "n1", "state": "up"}, 0),
        ({"Hostname": "n1", "state": "unreadable"}, 0),
    ]


def test_xids_are_counted_also_when_the_same_one_comes_again():
    view = view_of(
        GpuSample(GPU), xids={("GPU-aaaa", 79): 2, ("GPU-aaaa", 31): 5}, last_xids={"GPU-aaaa": 31}
    )
    found = series(Facts(view))
    assert found["DCGM_FI_DEV_XID_ERRORS"] == [(PLAIN, 31)]
    assert found["commonpool_gpu_xid_events_total"] == [
        ({**SHORT, "xid": "79"}, 2),
        ({**SHORT, "xid": "31"}, 5),
    ]


def test_where_no_xids_are_heard_there_is_no_claim_that_none_came():
    assert "DCGM_FI_DEV_XID_ERRORS" not in series(Facts(view_of(GpuSample(GPU), hears_xids=False)))


def test_jobs_are_joined_by_a_series_of_their_own_and_strangers_counted():
    sample = GpuSample(GPU, readings=Readings(power_milliwatts=1), processes=(Process(1),))
    mine = [Holder(GPU, pid, Standing.LEASED, "cp-abc-2", said_job="abc") for pid in (1, 2)]
    stranger = Holder(GPU, 3, Standing.FOREIGN)
    found = series(Facts(view_of(sample), holders=(*mine, stranger)))
    job = {**SHORT, "job_id": "abc", "run_id": "cp-abc-2"}
    assert found["commonpool_gpu_job_info"] == [(job, 1)]
    assert found["commonpool_gpu_leased_processes"] == [(SHORT, 2)]
    assert found["commonpool_gpu_foreign_processes"] == [(SHORT, 1)]
    assert found["commonpool_gpu_unknown_processes"] == [(SHORT, 0)]
    others = [labels for n, v in found.items() if n != "commonpool_gpu_job_info" for labels, _ in v]
    assert not [labels for labels in others if {"job_id", "run_id"} & set(labels)]


def test_while_holders_are_not_known_nobody_is_counted():
    sample = GpuSample(GPU, processes=(Process(1),))
    assert "commonpool_gpu_foreign_processes" not in series(Facts(view_of(sample)))


def test_a_slice_has_its_own_series_with_its_profile():
    mig = MigDevice("MIG-1", 2, 0, "1g.10gb", 1024**2, None, Gpm(sm_active=0.5))
    found = series(Facts(view_of(GpuSample(GPU, mig=(mig,)))))
    labels = {**PLAIN, "GPU_I_PROFILE": "1g.10gb", "GPU_I_ID": "2"}
    assert found["DCGM_FI_DEV_FB_USED"] == [(labels, 1)]
    assert found["DCGM_FI_PROF_SM_ACTIVE"] == [(labels, 0.5)]
    assert "DCGM_FI_DEV_FB_FREE" not in found


def test_the_agent_tells_how_it_is_itself():
    view = view_of(errors={("nvmlDeviceGetPowerUsage", "Unknown Error"): 4}, passes=9)
    found = series(Facts(view, restarts=2, reports={"accepted": 5}))
    host = {"Hostname": "n1"}
    assert found["commonpool_agent_looks_total"] == [(host, 9)]
    assert found["commonpool_agent_restarts_total"] == [(host, 2)]
    assert found["commonpool_agent_reports_total"] == [({**host, "outcome": "accepted"}, 5)]
    assert found["commonpool_agent_nvml_errors_total"] == [
        ({**host, "function": "nvmlDeviceGetPowerUsage", "error": "Unknown Error"}, 4)
    ]


def test_the_newer_format_can_be_read_too():
    sample = GpuSample(GPU, condition=Condition(energy_millijoules=5))
    view = view_of(sample, xids={("GPU-aaaa", 79): 1})
    text = openmetrics(registry_of(Facts(view, holders=()))).decode()
    assert {family.name for family in parse_openmetrics(text)} >= {
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "commonpool_gpu_xid_events",
    }


def test_our_own_names_keep_prometheus_rules():
    view = view_of(GpuSample(GPU, readings=Readings(recovery_action=0)), pass_seconds=0.1)
    text = generate_latest(registry_of(Facts(view, holders=()))).decode()
    ours = re.findall(r"^# TYPE (commonpool_\w+) (\w+)$", text, flags=re.MULTILINE)
    assert ours
    for name, kind in ours:
        assert name.endswith("_total") == (kind == "counter")
        assert f"# HELP {name} " in text


@pytest.mark.parametrize("metrics", list(MetricSet))
def test_the_page_is_what_prometheus_own_library_makes_of_it(gpus, session, metrics):
    sliced = BUSY + "[gpu.1]\nmig = 1\nmig_dev = 1,0,1,9856\n"
    gpus.write(sliced)
    session.open()
    samples = {uuid: read_twice(session, uuid) for uuid in UUIDS[:2]}
    gpus.write(sliced + "[gpu.2]\nlost = 1\n")
    samples[UUIDS[2]] = session.sample(UUIDS[2], condition=True)
    held = Holder(samples[UUIDS[0]].gpu, 7, Standing.LEASED, "cp-abc-1")
    view = NodeView(
        SamplerState.OK,
        driver=Driver("550.90.07", "12.550", "12.4"),
        gpus=tuple(s.gpu for s in samples.values()),
        samples=samples,
        xids={(UUIDS[2], 79): 1},
        hears_xids=True,
        errors={("nvmlDeviceGetPowerUsage", 'in "quotes", \\ and\ntwo lines'): 4},
        pass_seconds=1.5e-7,
    )
    exporter = Exporter(lambda: Facts(view, (held,), 2, {"accepted": 5}), "n1", "Hostname", metrics)
    registry = CollectorRegistry()
    registry.register(exporter)
    assert text([exporter]) == generate_latest(registry).decode()


def test_it_answers_over_http_and_ends(unused_port):
    exporter = Exporter(lambda: Facts(NodeView(SamplerState.OK)), "n1", "Hostname")
    end = serve(exporter, "127.0.0.1", unused_port)
    url = f"http://127.0.0.1:{unused_port}/metrics"
    with urllib.request.urlopen(url) as answer:
        assert answer.status == 200
    end()
    with pytest.raises(URLError):
        urllib.request.urlopen(url)


def test_a_port_that_is_taken_is_an_error_of_the_start(unused_port):
    exporter = Exporter(lambda: Facts(NodeView(SamplerState.OK)), "n1", "Hostname")
    end = serve(exporter, "127.0.0.1", unused_port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{unused_port}/metrics") as answer:
            text = answer.read().decode()
        assert 'commonpool_agent_sampler_state{Hostname="n1",state="ok"} 1.0' in text
        assert "process_resident_memory_bytes" in text
        with pytest.raises(OSError, match="in use"):
            serve(exporter, "127.0.0.1", unused_port)
    finally:
        end()
