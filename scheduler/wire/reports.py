"""What node agents tell the hub: whole reports of a machine, one or many to a message.

The hub takes thousands of these a second, so they are msgspec's structs and not pydantic's
models. They are kept out of the cyclic collector (`gc=False`): they hold no cycles, and
with 44,000 of them alive one collection would stop the hub for a second.

Source: notes/nvml_prometheus.md §4.1 and §4.2.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from scheduler.wire.launches import LauncherReport
from scheduler.wire.text import refuse_nul

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}(?![\s\S])", examples=["npc-node-1"])
]
# No database takes NUL. `decode` looks for it in the whole message: a pattern for each string
# would be four fifths of what reading a report costs.
_TEXT = {"pattern": r"^[^\x00]*$"}
_ADDRESS = r"^(?:(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):[0-9]{1,5})?(?![\s\S])"
Ratio = Annotated[float, Meta(ge=0, le=1)]
Watts = Annotated[float, Meta(ge=0, le=10_000)]
Celsius = Annotated[float, Meta(ge=-100, le=1000)]
Mebibytes = Annotated[float, Meta(ge=0, le=2**30)]
# How often something happened: a counter that starts with the agent's process.
Times = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class SamplerState(StrEnum):
    """How the agent's reading of GPUs goes; all but `ok` say that it is blind."""

    STARTING = "starting"
    OK = "ok"
    STUCK = "stuck"
    NO_DRIVER = "no_driver"
    DRIVER_REPLACED = "driver_replaced"
    ENDED = "ended"


class _Wire(
    Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A frozen message that refuses fields it does not know.

    What is as it is by default is not sent: an older hub so takes a newer agent's reports until
    they have something to say in a field that it does not know.
    """


class XidCount(_Wire, frozen=True):
    """How often an XID came on a GPU since the agent's process began: told again, not anew."""

    xid: Annotated[int, Meta(ge=1, le=100_000)]
    count: Annotated[int, Meta(ge=1, le=2**31 - 1)]


class GpuReport(_Wire, frozen=True):
    """What a GPU is and how well: what seldom changes. Unsupported is absent, never 0."""

    index: Annotated[int, Meta(ge=0, le=63)]
    uuid: Annotated[str, Meta(min_length=1, max_length=80, extra_json_schema=_TEXT)]
    model: Annotated[
        str, Meta(min_length=1, max_length=40, extra_json_schema=_TEXT, examples=["H100"])
    ]
    memory_mib: Count | None = None
    healthy: bool = True
    why_unhealthy: Annotated[str, Meta(max_length=200, extra_json_schema=_TEXT)] = ""
    xids: Annotated[tuple[XidCount, ...], Meta(max_length=64)] = ()
    ecc_uncorrected: Times | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    recovery_action: Annotated[int, Meta(ge=0, le=15)] | None = None


class RatioOver(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """A part of 1 over the time since the report before: at last, on average, at most."""

    last: Ratio
    mean: Ratio
    most: Ratio


class WattsOver(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Power over the time since the report before: at last, on average, at most."""

    last: Watts
    mean: Watts
    most: Watts


class MemoryOver(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Used memory in MiB over the time since the report before: last, average, most."""

    last: Mebibytes
    mean: Mebibytes
    most: Mebibytes


class CelsiusOver(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Temperature over the time since the report before: at last, on average, at most."""

    last: Celsius
    mean: Celsius
    most: Celsius


class RunUse(_Wire, frozen=True):
    """What one run's processes do on a GPU that others may use too. Not measured is absent."""

    run: Annotated[str, Meta(max_length=80, extra_json_schema=_TEXT)]
    sm_active: Ratio | None = None
    memory_mib: Mebibytes | None = None


class GpuUse(_Wire, frozen=True):
    """How busy a GPU was since the report before. What was not measured is absent, never 0.

    `runs` tells whose use it was, on a GPU with a guest or with several runs; of all those that
    have processes there. It is of the report's own instant.
    """

    index: Annotated[int, Meta(ge=0, le=63)]
    sm_active: RatioOver | None = None
    tensor_active: RatioOver | None = None
    memory_mib: MemoryOver | None = None
    power_watts: WattsOver | None = None
    temperature_celsius: CelsiusOver | None = None
    runs: Annotated[tuple[RunUse, ...], Meta(max_length=16)] = ()


class ForeignUse(_Wire, frozen=True):
    """A GPU that is used by processes of a run that has no lease there, or of no run at all."""

    gpu: Annotated[int, Meta(ge=0, le=63)]
    run: Annotated[str, Meta(max_length=80, extra_json_schema=_TEXT)] = ""
    processes: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class SaidReport(_Wire, frozen=True):
    """What of a report is read whenever it comes: all but what its GPUs are."""

    node: Name
    pool: Name
    boot_id: Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema=_TEXT)]
    sequence: Count
    sampled_at: Annotated[datetime, Meta(tz=True)]
    block: Annotated[str, Meta(max_length=80, extra_json_schema=_TEXT)] = ""
    simulated: bool = False
    started_at: Annotated[datetime, Meta(tz=True)] | None = None
    sampler: SamplerState = SamplerState.OK
    use: Annotated[tuple[GpuUse, ...], Meta(max_length=64)] = ()
    foreign: Annotated[tuple[ForeignUse, ...], Meta(max_length=256)] = ()
    launcher: LauncherReport | None = None
    tells_runs: bool = False
    exporter: Annotated[str, Meta(max_length=100, pattern=_ADDRESS, examples=[":9400"])] = ""
    lease_digest: Annotated[str, Meta(max_length=16, pattern=r"^[0-9a-f]*(?![\s\S])")] = ""

    def facts_with(self, gpus: bytes) -> int:
        """Return a hash of all that planning and health look at; `gpus` in the encoder's words."""
        said = (self.pool, self.block, self.simulated, self.sampler, self.tells_runs)
        return hash((said, self.exporter, gpus, self.foreign))


_Gpus = Annotated[tuple[GpuReport, ...], Meta(min_length=1, max_length=64)]


class NodeReport(SaidReport, frozen=True, kw_only=True):
    """A whole machine as it is now.

    `boot_id` names the agent's process, which began at `started_at`; `sequence` rises within
    it. Of two agents that speak for one node the one that began later is believed. `tells_runs`:
    where several runs are on a GPU, this agent can tell which of them uses it. `exporter` is
    where its /metrics is, HOST:PORT; without a host it is under the node's name. `lease_digest`
    names the list of leases that the agent has (`NodeLeases`).
    """

    gpus: _Gpus

    @property
    def facts(self) -> int:
        """Return a hash of all that planning and health look at: alike means nothing is new."""
        return self.facts_with(_ENCODER.encode(self.gpus))


class UnreadReport(SaidReport, frozen=True, kw_only=True):
    """A report whose GPUs are still as they came: they are nearly always those of the last one.

    Reading them anew each time would be a quarter of what a report costs.
    """

    gpus: msgspec.Raw

    @property
    def facts(self) -> int:
        """Return the facts of the whole report, if its GPUs are spelled as our encoder does.

        Spelled otherwise they are other facts than any report that was read, which is read then.
        """
        return self.facts_with(bytes(self.gpus))

    def read(self) -> NodeReport:
        """Return the whole report.

        Raises:
            msgspec.ValidationError: its GPUs are not such a list; the place is that within it.
        """
        return NodeReport(**{**msgspec.structs.asdict(self), "gpus": _GPUS.decode(self.gpus)})


class NodeReports(_Wire, frozen=True):
    """A batch, so that one process can speak for many nodes of a site."""

    reports: Annotated[tuple[NodeReport, ...], Meta(min_length=1, max_length=1000)]


class _UnreadReports(_Wire, frozen=True):
    reports: Annotated[tuple[UnreadReport, ...], Meta(min_length=1, max_length=1000)]


_DECODER = msgspec.json.Decoder(NodeReports)
_UNREAD = msgspec.json.Decoder(_UnreadReports)
_GPUS = msgspec.json.Decoder(_Gpus)
_ENCODER = msgspec.json.Encoder()


def decode(body: bytes) -> NodeReports:
    """Read a message.

    Raises:
        msgspec.ValidationError: it is JSON, and not this message.
        msgspec.DecodeError: it is not JSON.
    """
    found = _DECODER.decode(body)
    refuse_nul(body)
    return found


def decode_unread(
    body: bytes, is_known: Callable[[UnreadReport], bool]
) -> tuple[NodeReport | UnreadReport, ...]:
    """Read a message, leaving out the GPUs of those reports whose facts are known.

    Raises:
        As `decode`.
    """
    try:
        reports = _UNREAD.decode(body).reports
        found = tuple(one if is_known(one) else one.read() for one in reports)
    except msgspec.ValidationError:
        return decode(body).reports  # which finds it too, and says where in the message
    refuse_nul(body)
    return found


def encode(reports: Sequence[NodeReport]) -> bytes:
    """Return the message that carries these reports."""
    return _ENCODER.encode({"reports": reports})


def checked(report: NodeReport) -> NodeReport:
    """Return a report that was built here, held against what a hub will hold it to.

    Raises:
        ValueError: the hub would refuse it.
    """
    raw = _ENCODER.encode(report)
    try:
        refuse_nul(raw)
        return msgspec.json.decode(raw, type=NodeReport)
    except msgspec.ValidationError as error:
        raise ValueError(f"no report can say this: {error}") from error
