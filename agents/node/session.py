"""A session with the driver: which GPUs it lists, and one frozen sample of each on request.

«Not supported» is remembered, so a GPU is asked once and not every second. A lost GPU is a
value, so the others go on; a driver that is away or was replaced is an exception, for the
whole pass.
Sources: NVIDIA's NVML API reference; nvitop #88 and #139 for drivers that break the rules.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agents.node import fields, nvml, refusals
from agents.node.condition import condition as condition_of
from agents.node.questions import (
    FIELD_VALUES,
    PROCESSES,
    Key,
    Listing,
    Pair,
    Question,
    Steady,
    batch_question,
    gpm_question,
    metrics_question,
    processes_by,
)
from agents.node.refusals import Declined, DriverAway, DriverReplaced, GpuAway
from agents.node.samples import (
    Condition,
    Driver,
    Gpm,
    Gpu,
    GpuSample,
    MigDevice,
    Process,
    Readings,
)
from scheduler.clock import Clock, SystemClock

_Memory = tuple[int | None, int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Found:
    """What the driver lists. `unreadable`: GPUs that it counts but cannot name."""

    driver: Driver
    gpus: tuple[Gpu, ...]
    unreadable: int


@dataclass(slots=True)
class _Device:
    """A GPU as this session holds it."""

    handle: Any
    gpu: Gpu
    steady: Steady
    readings: Question
    listing: Listing
    condition: Condition = field(default_factory=Condition)
    refused: set[object] = field(default_factory=set)
    gpm: dict[int, Pair] = field(default_factory=dict)
    mig: tuple[tuple[Any, MigDevice], ...] = ()
    seen: list[int] = field(default_factory=lambda: [0])


class Session:
    """The driver as one thread uses it; `doing` may be read from any."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.doing = ""
        """The driver call that is under way, or was the last."""
        self.errors: Counter[tuple[str, str]] = Counter()
        """Calls that were declined for no known reason, by function and words."""
        self._devices: dict[str, _Device] = {}
        self._open = False
        self._processes: tuple[str, ...] = ()
        self._gpm_request = nvml.gpm_request()
        self._metrics: Question | None = None
        self._batches: dict[tuple[tuple[int, int], ...], nvml.Batch] = {}
        self._of_readings = self._batch_of(fields.READINGS)

    def open(self) -> Found:
        """Begin, and list the GPUs.

        Raises:
            DriverAway: there is no driver to speak with now.
            DriverReplaced: only a new process can speak with the driver.
            Declined: the driver is there and does not say what it has.
        """
        self._call("nvmlInit")
        self._open, unreadable = True, 0
        self._metrics = metrics_question(nvml.function, self._gpm_request)
        driver = self._driver()
        self._processes = processes_by(driver.version)
        for index in range(self._call("nvmlDeviceGetCount")):
            device = self._device(index)
            if device is None:
                unreadable += 1
            else:
                self._devices[device.gpu.uuid] = device
        return Found(driver, tuple(d.gpu for d in self._devices.values()), unreadable)

    def close(self) -> None:
        """End, so that the driver can be unloaded; what was known of GPUs is forgotten."""
        if not self._open:
            return
        self._open = False
        for pair in [p for d in self._devices.values() for p in d.gpm.values()]:
            for question in (pair.earlier, pair.later):
                self._quietly("nvmlGpmSampleFree", question.arguments[-1])
        self._devices = {}
        self._quietly("nvmlShutdown")

    def place(self, gpus: Sequence[Gpu]) -> None:
        """Call GPUs as `gpus` does from now on: by our index, which NVML's need not be."""
        for gpu in gpus:
            if gpu.uuid in self._devices:
                self._devices[gpu.uuid].gpu = gpu

    def sample(self, uuid: str, *, condition: bool) -> GpuSample:
        """Look at a GPU; ask for its condition anew where `condition`.

        Raises:
            DriverAway: the driver went away.
            DriverReplaced: only a new process can go on.
        """
        device = self._devices[uuid]
        try:
            if condition:
                self._renew(device)
            whole = not device.condition.mig_enabled
            return GpuSample(
                gpu=device.gpu,
                readings=self._readings(device),
                gpm=self._gpm(device, nvml.WHOLE_GPU) if whole else Gpm(),
                condition=device.condition,
                processes=self._told_apart(device, self._running(device)),
                mig=tuple(self._slice(device, *one) for one in device.mig),
            )
        except GpuAway as away:
            for pair in device.gpm.values():
                pair.filled = False
            return GpuSample(gpu=device.gpu, fault=away.fault)

    def events(self) -> nvml.Events:
        """Return a wait for the XIDs of all GPUs that can announce them.

        Raises:
            Declined: this driver announces nothing.
        """
        return nvml.Events({uuid: device.handle for uuid, device in self._devices.items()})

    def _driver(self) -> Driver:
        cuda = self._told("nvmlSystemGetCudaDriverVersion")
        return Driver(
            version=self._told("nvmlSystemGetDriverVersion") or "",
            nvml=self._told("nvmlSystemGetNVMLVersion") or "",
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        )

    def _told(self, name: str) -> Any:  # noqa: ANN401  # as the library gives it
        """Ask for what is good to know of the driver, and no reason not to go on."""
        try:
            return self._call(name)
        except Declined as why:
            self.errors[name, str(why)] += 1
            return None

    def _device(self, index: int) -> _Device | None:
        """Get hold of the GPU at NVML's `index`, or return None if it says not even its name."""
        try:
            handle = self._call("nvmlDeviceGetHandleByIndex", index)
            uuid = self._call("nvmlDeviceGetUUID", handle)
            gpu = Gpu(uuid, index, self._call("nvmlDeviceGetName", handle))
            device = self._prepared(handle, gpu)
            pci = self._ask(device, "nvmlDeviceGetPciInfo")
            minor = self._ask(device, "nvmlDeviceGetMinorNumber")
        except GpuAway:
            return None
        except Declined as why:
            self.errors[why.function, str(why)] += 1
            return None
        bus_id = pci.busId if pci else ""
        bus_id = bus_id.decode() if isinstance(bus_id, bytes) else bus_id
        device.gpu = replace(device.gpu, bus_id=bus_id, minor=minor)
        return device

    def _prepared(self, handle: object, gpu: Gpu) -> _Device:
        batch, find = self._of_readings, nvml.function
        return _Device(
            handle=handle,
            gpu=gpu,
            steady=Steady(find, handle, nvml.MEMORY_V2),
            readings=batch_question(find, handle, batch.values, batch.decoder),
            listing=Listing(find, handle),
        )

    def _call(self, name: str, *arguments: object) -> Any:  # noqa: ANN401  # as the library gives it
        """Call for something without which there is no going on."""
        self.doing = name
        return nvml.call(name, *arguments)

    def _quietly(self, name: str, *arguments: object) -> None:
        """Let go of something of a driver that may be gone already."""
        try:
            self._call(name, *arguments)
        except (DriverAway, DriverReplaced, GpuAway, Declined) as why:
            self.errors[name, str(why)] += 1

    def _ask(self, device: _Device, name: str, *arguments: object) -> Any:  # noqa: ANN401  # as above
        """Ask for what a GPU may not support: then None, now and until the next session."""
        return self._ask_of(device, device.handle, name, *arguments)

    def _ask_of(self, device: _Device, of: object, name: str, *arguments: object) -> Any:  # noqa: ANN401  # as above
        key: Key = name
        if arguments and type(arguments[0]) is int:
            key = (name, arguments[0])
        if key in device.refused:
            return None
        self.doing = name
        try:
            return nvml.call(name, of, *arguments)
        except Declined as why:
            self._declined(device, key, why)
            return None

    def _declined(self, device: _Device, key: Key, why: Declined) -> None:
        """Remember what a GPU will never answer, and count what nobody expects."""
        if why.code in refusals.NEVER:
            device.refused.add(key)
        elif why.code not in refusals.NOT_NOW:
            self.errors[why.function, str(why)] += 1

    def _got(self, device: _Device, question: Question) -> bool:
        """Ask what was prepared; return whether it was answered."""
        return not self._unanswered(device, (question,))

    def _unanswered(self, device: _Device, questions: Iterable[Question]) -> list[Question]:
        """Ask what was prepared, in turn; return what was not answered."""
        refused, missed = device.refused, []
        for question in questions:
            if question.key not in refused:
                self.doing = question.name
                code = question.call(*question.arguments)
                if not code:
                    continue
                why = nvml.refusal(question.name, code)
                if not isinstance(why, Declined):
                    raise why
                self._declined(device, question.key, why)
            missed.append(question)
        return missed

    def _first(self, device: _Device, names: Iterable[str]) -> Any:  # noqa: ANN401  # as above
        """Ask by the newest name of a function that the driver knows."""
        for name in names:
            answer = self._ask(device, name)
            if answer is not None:
                return answer
        return None

    def _told_apart(
        self, device: _Device, processes: tuple[Process, ...] | None
    ) -> tuple[Process, ...] | None:
        """Add how busy each process is, where there are several: else the GPU itself tells."""
        if processes is None or len(processes) <= 1:
            return processes
        busy = self._ask(device, "process_sm", device.seen)
        if busy is None:
            return processes
        return tuple(replace(one, sm_active=busy.get(one.pid, 0.0)) for one in processes)

    def _running(self, device: _Device) -> tuple[Process, ...] | None:
        """Return the processes on a GPU, by the newest name of the question that it answers."""
        if self._processes[0] is PROCESSES:
            device.listing.clear()
            if self._got(device, device.listing.question):
                return device.listing.processes()
        answer: tuple[Process, ...] | None = self._first(device, self._processes)
        return answer

    def _readings(self, device: _Device) -> Readings:
        missed = self._unanswered(device, device.steady.questions)
        absent, batch = [question.places for question in missed], self._of_readings
        told = self._got(device, device.readings)
        values = batch.decoder.decode(batch.values) if told else [None] * len(fields.READINGS)
        readings = device.steady.readings(absent, values)
        return self._by_older_names(device, readings) if absent else readings

    def _by_older_names(self, device: _Device, readings: Readings) -> Readings:
        """Add what older drivers say by other names."""
        if readings.clock_event_reasons is None:
            reasons = self._ask(device, "nvmlDeviceGetCurrentClocksThrottleReasons")  # Before R535.
            readings = readings._replace(clock_event_reasons=reasons)
        if readings.memory_total_bytes is None:
            total, _, used, free = self._memory_v1(device, device.handle)
            readings = readings._replace(
                memory_total_bytes=total, memory_used_bytes=used, memory_free_bytes=free
            )
        return readings

    def _memory(self, device: _Device, of: object) -> _Memory:
        """Return total, reserved, used and free; older drivers count reserved as used."""
        if info := self._ask_of(device, of, "nvmlDeviceGetMemoryInfo", nvml.MEMORY_V2):
            return info.total, info.reserved, info.used, info.free
        return self._memory_v1(device, of)

    def _memory_v1(self, device: _Device, of: object) -> _Memory:
        if info := self._ask_of(device, of, "nvmlDeviceGetMemoryInfo"):
            return info.total, None, info.used, info.free
        return None, None, None, None

    def _fields(self, device: _Device, batch: nvml.Batch) -> list[int | None]:
        if self._ask(device, FIELD_VALUES, batch.values) is None:
            return [None] * len(batch.values)
        return batch.decoder.decode(batch.values)

    def _batch_of(self, wanted: tuple[tuple[int, int], ...]) -> nvml.Batch:
        if wanted not in self._batches:
            self._batches[wanted] = nvml.batch(wanted)
        return self._batches[wanted]

    def _gpm(self, device: _Device, instance: int) -> Gpm:
        """Return what was counted since the last look; nothing at the first one."""
        pair = device.gpm.get(instance) or self._pair(device, instance)
        if pair is None:
            return Gpm()
        now = self._clock.monotonic()
        if now - pair.at < Pair.LEAST_SECONDS:
            return Gpm()
        pair.at = now
        was_filled, pair.filled = pair.filled, self._got(device, pair.earlier)
        if not pair.filled:
            return Gpm()
        pair.earlier, pair.later = pair.later, pair.earlier
        request, question = self._gpm_request, self._metrics
        fields.compare_gpm(request, pair.earlier.fills, pair.later.fills)
        if not was_filled or question is None or not self._got(device, question):
            return Gpm()
        values = fields.gpm_values(request)
        if device.condition.nvlinks is None:  # For links that are not there the driver says 0.
            values[-fields.GPM_OF_LINKS :] = [None] * fields.GPM_OF_LINKS
        return Gpm(*values)

    def _pair(self, device: _Device, instance: int) -> Pair | None:
        if not self._ask(device, "gpm_supported"):
            device.refused.add("gpm_supported")
            return None
        try:
            samples = [self._call("nvmlGpmSampleAlloc") for _ in range(2)]
        except Declined as why:
            self.errors[why.function, str(why)] += 1
            return None
        questions = (gpm_question(nvml.function, device.handle, instance, s) for s in samples)
        pair = device.gpm[instance] = Pair(*questions)
        return pair

    def _renew(self, device: _Device) -> None:
        """Ask for what changes seldom; a GPU that changed to or from MIG is asked all anew."""
        before = device.condition.mig_enabled
        device.condition = condition_of(
            lambda name, *numbers: self._ask(device, name, *numbers),
            lambda wanted: self._fields(device, self._batch_of(tuple(wanted))),
        )
        if device.condition.mig_enabled != before:
            device.refused.clear()
        device.mig = tuple(self._slices(device)) if device.condition.mig_enabled else ()

    def _slices(self, device: _Device) -> list[tuple[Any, MigDevice]]:
        found = []
        for index in range(self._ask(device, "nvmlDeviceGetMaxMigDeviceCount") or 0):
            try:
                handle = self._call("nvmlDeviceGetMigDeviceHandleByIndex", device.handle, index)
                uuid, instance, compute, name = (self._call(f, handle) for f in _SLICE)
            except Declined:  # Most places hold no slice.
                continue
            profile = name.rpartition("MIG ")[2]
            found.append((handle, MigDevice(uuid, instance, compute, profile)))
        return found

    def _slice(self, device: _Device, handle: object, known: MigDevice) -> MigDevice:
        _, _, used, free = self._memory(device, handle)
        gpm = self._gpm(device, known.gpu_instance)
        return replace(known, memory_used_bytes=used, memory_free_bytes=free, gpm=gpm)


_SLICE = (
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetGpuInstanceId",
    "nvmlDeviceGetComputeInstanceId",
    "nvmlDeviceGetName",
)
