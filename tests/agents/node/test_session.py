"""What is read of GPUs through the real nvidia-ml-py, and every refusal that a driver can give."""

import pynvml
import pytest

from agents.node import nvml, refusals
from agents.node.questions import processes_by
from agents.node.refusals import Declined, DriverAway, DriverReplaced
from agents.node.samples import Driver, Fault, Gpm, MigDevice, Process, Readings
from agents.node.session import Session
from tests.waiting import until

MIB = 1024 * 1024
UUIDS = [f"GPU-fa4e0000-0000-4000-8000-{n:012x}" for n in range(8)]
BUSY = """
[gpu]
util = 97
mem_util = 41
gr_active = 99
sm_active = 88
sm_occupancy = 25
tensor = 50
dram = 40
fp64 = 1
fp32 = 2
fp16 = 3
pcie_tx_kibs = 2048
pcie_rx_kibs = 1024
nvlink_rx_mibs = 3
nvlink_tx_mibs = 5
power_w = 650
sm_clock = 1980
temp = 61
mem_temp = 70
throttle = 4
"""


def read(session, uuid=UUIDS[0]):
    return session.sample(uuid, condition=True)


def read_twice(session, uuid=UUIDS[0]):
    """Read until the monitors have two samples that lie apart."""
    found = [read(session, uuid)]

    def counted():
        found.append(read(session, uuid))
        return found[-1].gpm.sm_active is not None or any(
            m.gpm.sm_active is not None for m in found[-1].mig
        )

    until(counted)
    return found[-1]


def test_eight_h100s_are_found_with_their_names_and_places(session):
    found = session.open()
    assert found.driver == Driver("550.90.07", "12.550.90.07", "12.4")
    assert [gpu.uuid for gpu in found.gpus] == UUIDS
    assert [gpu.index for gpu in found.gpus] == list(range(8))
    assert {gpu.model for gpu in found.gpus} == {"NVIDIA H100 80GB HBM3"}
    assert found.gpus[0].bus_id == "00000000:1B:00.0"
    assert found.unreadable == 0


def test_a_busy_gpu_says_so_in_every_counter(gpus, session):
    gpus.write(BUSY)
    session.open()
    sample = read_twice(session)
    readings = sample.readings
    assert (readings.utilisation_percent, readings.memory_utilisation_percent) == (97, 41)
    assert (readings.power_milliwatts, readings.sm_clock_mhz) == (650_000, 1980)
    assert (readings.temperature_celsius, readings.memory_temperature_celsius) == (61, 70)
    assert readings.clock_event_reasons == 4
    assert readings.memory_total_bytes == 81559 * MIB
    assert readings.memory_used_bytes == 4 * MIB
    assert readings.memory_reserved_bytes == 551 * MIB
    assert sample.gpm == Gpm(
        graphics=pytest.approx(0.99),
        sm_active=pytest.approx(0.88),
        sm_occupancy=pytest.approx(0.25),
        tensor=pytest.approx(0.5),
        dram=pytest.approx(0.4),
        fp64=pytest.approx(0.01),
        fp32=pytest.approx(0.02),
        fp16=pytest.approx(0.03),
        pcie_tx=pytest.approx(2 * MIB),
        pcie_rx=pytest.approx(1 * MIB),
        nvlink_rx=pytest.approx(3 * MIB),
        nvlink_tx=pytest.approx(5 * MIB),
    )


def test_every_reading_and_condition_of_a_new_driver_is_there(session):
    session.open()
    sample = read(session)
    parts = {**sample.readings._asdict(), **sample.condition._asdict()}
    assert [name for name, value in parts.items() if value is None] == []


def test_what_ails_a_gpu_is_read(gpus, session):
    gpus.write("""
[gpu.1]
ecc_sbe_vol = 7
ecc_dbe_vol = 1
ecc_sbe_agg = 70
ecc_dbe_agg = 2
sram_threshold = 1
remap_corr = 3
remap_unc = 4
remap_pending = 1
remap_failed = 1
recovery_action = 4
nvlink_up = 17
nvlink_crc = 11
nvlink_replay = 12
nvlink_recovery = 13
pcie_gen = 3
pcie_width = 8
pcie_replay = 9
fabric_state = 2
fabric_uuid = 00112233-4455-6677-8899-aabbccddeeff
""")
    session.open()
    well, ill = read(session), read(session, UUIDS[1])
    assert (well.readings.recovery_action, well.condition.sram_threshold_exceeded) == (0, False)
    readings, condition = ill.readings, ill.condition
    assert (readings.remapped_correctable, readings.remapped_uncorrectable) == (3, 4)
    assert (readings.remap_pending, readings.remap_failed) == (1, 1)
    assert (readings.recovery_action, condition.pcie_replays) == (4, 9)
    assert (condition.ecc_corrected, condition.ecc_uncorrected) == (7, 1)
    assert (condition.ecc_corrected_ever, condition.ecc_uncorrected_ever) == (70, 2)
    assert condition.sram_threshold_exceeded
    assert (condition.nvlinks, condition.nvlinks_up) == (18, 17)
    assert (condition.nvlink_replays, condition.nvlink_recoveries) == (12, 13)
    assert condition.nvlink_crc_errors == 11
    assert (condition.pcie_generation, condition.pcie_generation_most) == (3, 5)
    assert (condition.pcie_width, condition.pcie_width_most) == (8, 16)
    assert condition.fabric is not None
    assert condition.fabric.state == 2
    assert condition.fabric.cluster == "00112233445566778899aabbccddeeff"


def test_processes_come_with_their_memory(gpus, session):
    gpus.write("[gpu.2]\nproc = 4242,1000\nproc = 4243,500,10,5,1,0\n")
    session.open()
    assert read(session).processes == ()
    assert read(session, UUIDS[2]).processes == (
        Process(4242, 1000 * MIB, None),
        Process(4243, 500 * MIB, 1),
    )


def test_a_gpu_cut_into_slices_speaks_through_them(gpus, session):
    gpus.write("""
[gpu.0]
mig = 1
sm_active = 30
mig_dev = 1,0,3,40448
mig_dev = 2,0,1,9856,MIG-of-mine
proc = 77,2000,0,0,2,0
""")
    session.open()
    sample = read_twice(session)
    assert sample.condition.mig_enabled
    assert sample.readings.utilisation_percent is None
    assert sample.gpm == Gpm()
    first, second = sample.mig
    assert (first.gpu_instance, first.profile) == (1, "3g.40gb")
    assert second == MigDevice("MIG-of-mine", 2, 0, "1g.10gb", 2000 * MIB, 7856 * MIB, second.gpm)
    assert second.gpm.sm_active == pytest.approx(0.3)


def test_a_gpu_that_is_cut_while_it_is_watched_is_asked_anew(gpus, session):
    session.open()
    assert read(session).readings.utilisation_percent == 0
    gpus.write("[gpu.0]\nmig = 1\nmig_dev = 1,0,1,9856\n")
    assert read(session).readings.utilisation_percent is None
    gpus.write("[gpu.0]\nutil = 33\n")
    assert read(session).readings.utilisation_percent == 33


def test_an_old_driver_says_less_and_nothing_is_made_up(old_gpus):
    old_gpus.write("[gpu]\nutil = 12\nproc = 9,100\nthrottle = 8\n")
    session = Session()
    session.open()
    sample = read(session)
    read(session)
    session.close()
    assert sample.gpm == Gpm()
    assert sample.condition.fabric is None
    assert sample.condition.sram_threshold_exceeded is None
    assert sample.processes == (Process(9, 100 * MIB, None),)
    assert (sample.readings.utilisation_percent, sample.readings.clock_event_reasons) == (12, 8)
    assert sample.readings.memory_reserved_bytes is None
    assert sample.readings.memory_used_bytes == (100 + 4 + 551) * MIB


@pytest.mark.parametrize("code", [3, 4, 13, 25], ids=["unsupported", "denied", "absent", "version"])
def test_what_is_not_supported_is_asked_once_and_never_zero(gpus, code, session):
    gpus.write(f"[gpu.0]\nfail = nvmlDeviceGetPowerUsage:{code}\n")
    session.open()
    assert read(session).readings.power_milliwatts is None
    gpus.write()
    assert read(session).readings.power_milliwatts is None
    assert read(session, UUIDS[1]).readings.power_milliwatts == 70_000
    assert session.errors == {}


def test_a_driver_that_knows_only_an_older_version_word_is_asked_with_that(gpus, session):
    gpus.write("[gpu]\nfabric_version = 2\nfail = nvmlDeviceGetMemoryInfo_v2:25\n")
    session.open()
    sample = read(session)
    assert sample.condition.fabric is not None
    assert (sample.condition.fabric.state, sample.condition.fabric.health_mask) == (3, 0xAAAA)
    assert sample.readings.memory_reserved_bytes is None
    assert sample.readings.memory_used_bytes == (4 + 551) * MIB


def test_a_library_that_does_not_match_is_a_missing_function(old_gpus):
    old_gpus.write()
    nvml.call("nvmlInit")
    handle = nvml.call("nvmlDeviceGetHandleByIndex", 0)
    # What pynvml raises here is no NVMLError, and an agent that caught only that would end.
    with pytest.raises(Declined, match="does not match") as refused:
        nvml.call("nvmlDeviceGetComputeRunningProcesses", handle)
    assert refused.value.code in refusals.NEVER


@pytest.mark.parametrize("code", [6, 10], ids=["not found", "timeout"])
def test_what_is_not_there_now_is_asked_again(gpus, session, code):
    gpus.write(f"[gpu.0]\nfail = nvmlDeviceGetPowerUsage:{code}\n")
    session.open()
    assert read(session).readings.power_milliwatts is None
    gpus.write()
    assert read(session).readings.power_milliwatts == 70_000
    assert session.errors == {}


def test_a_driver_that_does_not_say_its_version_is_read_all_the_same(gpus, session):
    fails = ("CudaDriverVersion", "DriverVersion", "NVMLVersion")
    gpus.write("[system]\n" + "".join(f"fail = nvmlSystemGet{name}:999\n" for name in fails))
    found = session.open()
    assert (found.driver, len(found.gpus)) == (Driver("", "", ""), 8)


def test_without_room_for_the_monitors_samples_the_rest_is_read(gpus, session):
    gpus.write("[system]\nfail = nvmlGpmSampleAlloc:20\n")
    session.open()
    sample = read(session)
    assert (sample.gpm, sample.readings.power_milliwatts) == (Gpm(), 70_000)


def test_an_unknown_error_is_counted_and_costs_one_reading(gpus, session):
    gpus.write("[gpu.0]\nfail = nvmlDeviceGetPowerUsage:999\n")
    session.open()
    sample = read(session)
    assert sample.readings.power_milliwatts is None
    assert sample.readings.utilisation_percent == 0
    assert session.errors == {("nvmlDeviceGetPowerUsage", "Unknown Error"): 1}


def test_a_batch_of_values_without_its_function_is_absent(gpus, session):
    gpus.write("[gpu]\nfail = nvmlDeviceGetFieldValues:13\n")
    session.open()
    sample = read(session)
    assert sample.condition.energy_millijoules is None
    assert sample.readings.recovery_action is None
    assert sample.condition.nvlinks is None
    assert sample.readings.power_milliwatts == 70_000


@pytest.mark.parametrize(
    ("how", "fault"), [("lost", Fault.LOST), ("reset_required", Fault.RESET_REQUIRED)]
)
def test_a_gpu_that_fails_is_a_value_and_the_others_go_on(gpus, session, how, fault):
    session.open()
    gpus.write(f"[gpu.3]\n{how} = 1\n")
    samples = [read(session, uuid) for uuid in UUIDS]
    assert [s.fault for s in samples] == [fault if n == 3 else None for n in range(8)]
    assert samples[3].readings == Readings()
    assert all(s.readings.power_milliwatts == 70_000 for s in samples if s.fault is None)
    gpus.write()
    assert read(session, UUIDS[3]).fault is None


def test_a_gpu_that_is_lost_from_the_start_is_counted_without_a_name(gpus, session):
    gpus.write("[gpu.3]\nlost = 1\n")
    found = session.open()
    assert found.unreadable == 1
    assert [gpu.uuid for gpu in found.gpus] == UUIDS[:3] + UUIDS[4:]


def test_a_gpu_that_is_pulled_out_shifts_the_indices_and_not_the_names(gpus, session):
    gpus.write("[gpu.0]\nabsent = 1\n")
    found = session.open()
    assert [(gpu.index, gpu.uuid) for gpu in found.gpus] == list(enumerate(UUIDS[1:]))


def test_a_driver_that_is_not_loaded_is_an_exception_for_the_whole_pass(gpus, session):
    session.open()
    gpus.write("[system]\nloaded = 0\n")
    with pytest.raises(DriverAway, match="Driver Not Loaded"):
        read(session)
    session.close()
    with pytest.raises(DriverAway):
        session.open()
    gpus.write()
    assert len(session.open().gpus) == 8
    assert read(session).readings.power_milliwatts == 70_000


def test_a_replaced_driver_is_an_exception_of_its_own(gpus, session):
    session.open()
    gpus.write("[system]\ndriver = 560.35.03\n")
    with pytest.raises(DriverReplaced):
        read(session)
    session.close()
    with pytest.raises(DriverReplaced):
        session.open()


def test_a_driver_that_refuses_to_begin_is_told_by_its_words(gpus, session):
    gpus.write("[system]\nfail = nvmlInitWithFlags:999\n")
    with pytest.raises(Declined, match="Unknown Error"):
        session.open()


@pytest.mark.parametrize(
    ("driver", "functions"),
    [
        pytest.param("550.90.07", ("processes_v3", "processes_v2"), id="newest first"),
        pytest.param("535.43.02", ("processes_v2",), id="the first that resized them"),
        pytest.param("535.86.05", ("processes_v2",), id="one that resized them"),
        pytest.param("535.98", ("processes_v3", "processes_v2"), id="the first that does not"),
        pytest.param("535.104.05", ("processes_v3", "processes_v2"), id="a later one"),
    ],
)
def test_drivers_that_resized_processes_are_asked_by_the_older_name(driver, functions):
    assert processes_by(driver) == functions


def test_no_library_at_all_means_no_driver(monkeypatch):
    def absent(_name):
        raise OSError("no such file")

    monkeypatch.setattr(pynvml, "CDLL", absent)
    with pytest.raises(DriverAway, match="NVML Shared Library Not Found"):
        Session().open()


def test_xids_are_told_once_each_also_in_a_burst(gpus, session):
    session.open()
    events = session.events()
    assert events.wait(0) is None
    gpus.write("[events]\n" + "".join(f"event = {n},{n % 8},8,{31 + n}\n" for n in range(1, 41)))
    heard = [events.wait(100) for _ in range(40)]
    assert [(x.uuid, x.number) for x in heard] == [(UUIDS[n % 8], 31 + n) for n in range(1, 41)]
    assert events.wait(0) is None
    events.close()


def test_the_wait_for_xids_ends_when_the_driver_goes(gpus, session):
    session.open()
    events = session.events()
    gpus.write("[system]\nloaded = 0\n")
    with pytest.raises(DriverAway):
        events.wait(100)


def test_of_several_processes_it_is_told_how_busy_each_is_since_the_look_before(gpus, session):
    """NVML's process utilisation; what was before anybody asked is nobody's work now."""
    gpus.write("[gpu.2]\nproc = 4242,1000,40\nproc = 4243,500,0\nproc = 4244,10\n")
    session.open()
    assert [one.sm_active for one in read(session, UUIDS[2]).processes] == [None] * 3
    assert [one.sm_active for one in read(session, UUIDS[2]).processes] == [0.4, 0.0, 0.0]


def test_of_a_process_alone_the_gpu_itself_tells(gpus, session):
    gpus.write("[gpu.2]\nproc = 4242,1000,40\n")
    session.open()
    for _ in range(2):
        assert [one.sm_active for one in read(session, UUIDS[2]).processes] == [None]
