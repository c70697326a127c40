"""What the agent reads of a real GPU is what the driver says, and the rest is absent."""

import time

import pynvml
import pytest

from agents.node import fields, nvml
from tests.agents.node.real.conftest import CUDA, running
from tests.waiting import until

pytestmark = pytest.mark.gpu

MIB = 1024 * 1024
MAY_BE_ABSENT = {
    "nvlink_tx_kib": "a GPU without NVLinks, or a machine that is given no link of its GPU",
    "nvlink_rx_kib": "as above",
    "nvlink_tx": "as above",
    "nvlink_rx": "as above",
    "nvlinks": "as above",
    "nvlinks_up": "as above",
    "nvlink_replays": "as above",
    "nvlink_recoveries": "as above",
    "nvlink_crc_errors": "as above",
    "fabric": "a driver before R535, or a GPU without an NVLink fabric",
    "recovery_action": "a driver before R565",
    "sram_threshold_exceeded": "a driver before R550",
    "pcie_replays": "a virtual machine may not see its GPU's bus",
    "pcie_generation": "as above",
    "pcie_width": "as above",
    "mig_enabled": "a model without MIG",
}
"""What a Hopper and a driver since R535 need not say, and why; everything else is there."""


@pytest.fixture
def gpu(session):
    """Return the first GPU of this machine, as an open session lists it."""
    return session.open().gpus[0]


def look(session, gpu):
    """Look twice, so that the performance monitors have something to compare."""
    session.sample(gpu.uuid, condition=True)
    time.sleep(0.5)
    return session.sample(gpu.uuid, condition=True)


def said(sample) -> dict[str, object]:
    return {
        **sample.readings._asdict(),
        **sample.gpm._asdict(),
        **sample.condition._asdict(),
    }


def test_every_field_is_there_or_absent_for_a_reason_that_is_listed(session, gpu):
    sample = look(session, gpu)
    absent = {name for name, value in said(sample).items() if value is None}
    print(f"\nabsent on {gpu.model}: {sorted(absent)}")  # noqa: T201  # the reader of a new model wants it
    assert sample.fault is None
    assert sample.processes is not None
    assert absent <= set(MAY_BE_ABSENT)
    assert dict(session.errors) == {}


def test_what_the_driver_refuses_is_absent_and_never_zero(session, gpu):
    sample = look(session, gpu)
    handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
    names = sample.readings._fields[-len(fields.READINGS) :]
    answers = pynvml.nvmlDeviceGetFieldValues(handle, [*fields.READINGS])
    refused = {name for name, answer in zip(names, answers, strict=True) if answer.nvmlReturn != 0}
    assert {name for name in names if getattr(sample.readings, name) is None} == refused


def test_a_batch_is_decoded_as_the_drivers_own_binding_decodes_it(gpu):
    handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
    steady = [pair for pair in fields.READINGS if pair[0] not in {82, 138, 139}]
    batch = nvml.batch(steady)
    assert nvml.call("field_values", handle, batch.values)
    ours = batch.decoder.decode(bytes(batch.values))
    for mine, answer in zip(ours, pynvml.nvmlDeviceGetFieldValues(handle, steady), strict=True):
        theirs = {1: answer.value.uiVal, 3: answer.value.ullVal}.get(answer.valueType)
        assert mine == (theirs if answer.nvmlReturn == 0 else None)


def test_its_identity_is_what_nvidia_smi_says(session, smi):
    found, told = session.open(), smi()
    assert sorted(gpu.uuid for gpu in found.gpus) == sorted(told.uuids)
    assert found.driver.version == told.of_system("driver_version")
    assert found.driver.cuda == told.of_system("cuda_version")
    for gpu in found.gpus:
        theirs = told.gpu(gpu.uuid)
        assert gpu.model == theirs.text("product_name")
        assert gpu.bus_id == theirs.text("pci/pci_bus_id")
        assert str(gpu.minor) == theirs.text("minor_number")
    assert found.unreadable == 0


def test_memory_ecc_and_limits_are_what_nvidia_smi_says(session, gpu, smi):
    sample, theirs = look(session, gpu), smi().gpu(gpu.uuid)
    readings, condition = sample.readings, sample.condition
    for ours, name in (
        (readings.memory_total_bytes, "total"),
        (readings.memory_reserved_bytes, "reserved"),
        (readings.memory_used_bytes, "used"),
        (readings.memory_free_bytes, "free"),
    ):
        assert ours is not None
        assert ours / MIB == pytest.approx(theirs.number(f"fb_memory_usage/{name}"), abs=2)
    assert condition.ecc_enabled is (theirs.text("ecc_mode/current_ecc") == "Enabled")
    assert condition.mig_enabled is (theirs.text("mig_mode/current_mig") == "Enabled")
    limit = theirs.number(
        "gpu_power_readings/current_power_limit", "gpu_power_readings/enforced_power_limit"
    )
    assert condition.power_limit_milliwatts == pytest.approx(1000 * (limit or 0), rel=0.01)
    rows = {
        "remapped_correctable": "remapped_row_corr",
        "remapped_uncorrectable": "remapped_row_unc",
    }
    for ours, path in rows.items():
        assert getattr(readings, ours) == theirs.number(f"remapped_rows/{path}")
    assert bool(readings.remap_pending) is (
        theirs.text("remapped_rows/remapped_row_pending") == "Yes"
    )


def test_temperatures_clocks_and_power_are_near_what_nvidia_smi_says(session, gpu, smi):
    readings, theirs = look(session, gpu).readings, smi().gpu(gpu.uuid)
    hot = theirs.number("temperature/gpu_temp"), theirs.number("temperature/memory_temp")
    assert readings.temperature_celsius == pytest.approx(hot[0], abs=4)
    assert readings.memory_temperature_celsius == pytest.approx(hot[1], abs=4)
    power = theirs.number(
        "gpu_power_readings/average_power_draw",
        "gpu_power_readings/power_draw",
        "power_readings/power_draw",
    )
    assert readings.power_milliwatts is not None
    assert readings.power_milliwatts / 1000 == pytest.approx(power, rel=0.4)
    assert readings.memory_clock_mhz == pytest.approx(theirs.number("clocks/mem_clock"), rel=0.05)


def test_a_process_is_listed_with_the_memory_that_it_holds(session, gpu):
    with running(CUDA, "hold", "3000") as process:
        (found,) = until(lambda: look(session, gpu).processes)
        assert found.pid == process.pid
        assert found.memory_bytes is not None
        assert 3000 <= found.memory_bytes / MIB <= 4500
    until(lambda: look(session, gpu).processes == ())


def test_a_session_can_be_closed_and_opened_again(session, gpu):
    first = look(session, gpu)
    session.close()
    assert gpu.uuid in {one.uuid for one in session.open().gpus}
    assert said(look(session, gpu)).keys() == said(first).keys()
