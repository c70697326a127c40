"""What NVIDIA's XIDs ask of a scheduler: data, with where each line comes from.

The sources disagree on 63, 94 and 109; the column says whom we follow. `NVIDIA` is the
resolution bucket of the Xid catalogue, `EKS` the fatal list of EKS' node monitoring agent,
`GCM` Meta's, `k8s` the application errors that k8s-device-plugin ignores, `GPUd` Lepton's.

Source: notes/nvml_prometheus.md §2.2.
"""

from scheduler.core.health import Action, Clears, Repeat, XidRule

_RESET = "reset the GPU; reboot the node where it comes back"
_LINK = "reset the GPUs; look at the switch where its peers report the same"
_APP = "look at the application"
_FATAL = "NVIDIA: reset; EKS fatal"
_IGNORED = "NVIDIA: restart the application; k8s and GCM ignore it"

# An application's fault is the job's, unless several people's jobs meet it on one GPU.
_BLAMED = Repeat(times=3, action=Action.CORDON, users=3)
_AGAIN = Repeat(times=2, action=Action.REBOOT)


def _app(xid: int, means: str) -> XidRule:
    return XidRule(xid, means, Action.TELL, _APP, _IGNORED, Clears.FACTS, _BLAMED)


def _drain(xid: int, means: str, todo: str = _RESET, source: str = _FATAL) -> XidRule:
    return XidRule(xid, means, Action.DRAIN, todo, source, Clears.RESTART, _AGAIN)


def _link(xid: int, means: str) -> XidRule:
    return XidRule(xid, means, Action.DRAIN, _LINK, "NVIDIA: reset; EKS fatal", Clears.RESTART)


_ROWS = (
    _app(8, "GPU stopped processing"),
    _app(11, "invalid or corrupted push buffer"),
    _app(13, "graphics engine exception"),
    _app(31, "memory page fault of the application"),
    _app(32, "invalid or corrupted push buffer stream"),
    _app(39, "copy engine exception"),
    _app(40, "copy engine exception"),
    _app(41, "copy engine exception"),
    _app(43, "the application's channel was stopped"),
    _app(45, "the application was cleaned up"),
    _app(68, "video decoder exception"),
    _app(69, "graphics engine class error"),
    _app(80, "corrupted data sent to the GPU"),
    _drain(46, "GPU stopped processing"),
    _drain(48, "double-bit memory error", "reset the GPU; replace it on repeat"),
    XidRule(
        54,
        "auxiliary power is missing",
        Action.DRAIN,
        "have a technician look at its power cable",
        "NVIDIA: check mechanicals; EKS fatal",
        Clears.WORD,
    ),
    _drain(62, "microcontroller halted"),
    XidRule(
        63,
        "a row of memory is being remapped",
        Action.IGNORE,
        "reset the GPU between jobs",
        "NVIDIA: ignore; EKS and GPUd call it fatal. The pending remap itself cordons",
        Clears.FACTS,
        Repeat(times=4, action=Action.DRAIN),
    ),
    XidRule(
        64,
        "a row of memory could not be remapped",
        Action.DRAIN,
        "replace the GPU",
        "NVIDIA: reset; EKS fatal",
        Clears.WORD,
    ),
    _link(74, "NVLink error"),
    XidRule(
        79,
        "it fell off the bus",
        Action.REBOOT,
        "power-cycle the node",
        "NVIDIA: restart bare metal; all call it fatal",
        Clears.RESTART,
    ),
    XidRule(
        92,
        "high rate of single-bit errors",
        Action.IGNORE,
        "watch its memory errors",
        "NVIDIA: ignore",
        Clears.FACTS,
    ),
    XidRule(
        94,
        "contained memory error",
        Action.TELL,
        "restart the application; reset the GPU on repeat",
        "NVIDIA: restart the application; HyperPod: no action; EKS does not list it",
        Clears.RESTART,
        Repeat(times=3, action=Action.DRAIN),
    ),
    _drain(95, "uncontained memory error", "reset the GPU; replace it on repeat"),
    XidRule(
        109,
        "context switch timeout",
        Action.CORDON,
        "reset the GPU after the job",
        "NVIDIA: reset; EKS fatal; k8s and GCM ignore it",
        Clears.RESTART,
    ),
    _drain(110, "security fault"),
    _drain(119, "GPU system processor does not answer"),
    _drain(120, "GPU system processor error"),
    _link(136, "NVLink training failed"),
    _drain(140, "unrecovered memory error", "reset the GPU; replace it on repeat"),
    _drain(142, "fatal error", source="EKS fatal"),
    _drain(143, "GPU initialisation failed"),
    *(_link(xid, "NVLink 5 error") for xid in range(144, 151)),
    _drain(151, "key rotation failed", source="EKS fatal"),
    XidRule(
        154,
        "the driver changed what recovery it asks for",
        Action.IGNORE,
        "follow the recovery action",
        "NVIDIA: informational; the recovery action itself is obeyed",
        Clears.FACTS,
    ),
    _link(155, "NVLink flow control error"),
    _drain(156, "resource retirement event", source="EKS fatal"),
    _drain(158, "fatal timeout"),
)

XID_RULES = {rule.xid: rule for rule in _ROWS}
"""Every rule by its XID; each is in the table once."""
