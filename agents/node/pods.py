"""Which pod Kubernetes gave each GPU to, from the kubelet of this node.

The kubelet's answer is three levels of names, so it is read here and not by generated
code. It needs the package grpcio; without it, pods are known by their control group alone.
Run as a program it prints the answer: see `look_up.py`.
Source: Kubernetes' `PodResourcesLister` v1 (GA in 1.28), Protocol Buffers' wire format.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from agents.node.attribution import Pod

SOCKET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
_METHOD = "/v1.PodResourcesLister/List"
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_PODS = 1
_NAME, _NAMESPACE, _CONTAINERS = 1, 2, 3
_DEVICES = 2
_RESOURCE, _IDS = 1, 2
_MORE, _SEVEN = 0x80, 0x7F
_LONGEST = 10


class PodsUnknown(Exception):  # noqa: N818  # a state, told by its name
    """The kubelet cannot be asked, or answers something else; the message says which."""


def by_gpu(socket: Path = SOCKET, seconds: float = 2) -> Mapping[str, Pod]:
    """Return the pod of each GPU or MIG slice by UUID; none on a node without a kubelet.

    Raises:
        PodsUnknown: the kubelet is there, and cannot be asked.
    """
    if not socket.exists():
        return {}
    return parsed(_listed(socket, seconds))


def _listed(socket: Path, seconds: float) -> bytes:
    try:
        import grpc  # noqa: PLC0415  # it may be absent, and is large
    except ModuleNotFoundError as error:
        raise PodsUnknown("asking the kubelet needs grpcio: pip install grpcio") from error
    try:
        with grpc.insecure_channel(f"unix://{socket}") as channel:
            answer: bytes = channel.unary_unary(_METHOD)(b"", timeout=seconds)
    except grpc.RpcError as error:
        raise PodsUnknown(f"kubelet at {socket}: {error.details()}") from error
    return answer


def parsed(answer: bytes) -> Mapping[str, Pod]:
    """Read a `ListPodResourcesResponse`.

    Raises:
        PodsUnknown: it is something else.
    """
    found: dict[str, Pod] = {}
    try:
        for pod in _members(answer)[_PODS]:
            fields = _members(pod)
            namespace, name = _text(fields[_NAMESPACE]), _text(fields[_NAME])
            for container in fields[_CONTAINERS]:
                of = Pod(namespace, name, _text(_members(container)[_NAME]))
                found.update(dict.fromkeys(_gpus(container), of))
    except (IndexError, UnicodeDecodeError) as error:
        raise PodsUnknown(f"the kubelet's answer cannot be read: {error}") from error
    return found


def _gpus(container: bytes) -> Iterator[str]:
    for devices in _members(container)[_DEVICES]:
        fields = _members(devices)
        if _text(fields[_RESOURCE]).startswith("nvidia.com/"):
            for device in fields[_IDS]:
                # A GPU that is shared by time has the places `UUID::0`, `UUID::1`, …
                yield device.decode().partition("::")[0]


def _text(values: list[bytes]) -> str:
    return values[-1].decode() if values else ""


def _members(message: bytes) -> Mapping[int, list[bytes]]:
    """Return the strings and messages in a message by field number.

    Raises:
        IndexError: it ends too early, or is no message.
    """
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            _, place = _varint(message, place)
        elif kind == _BYTES:
            length, place = _varint(message, place)
            found[key >> 3].append(message[place : place + length])
            place += length
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            place += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise IndexError(f"wire type {kind}")
        if place > len(message):
            raise IndexError("it ends within a field")
    return found


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST):
        byte = message[place]
        place += 1
        value |= (byte & _SEVEN) << (7 * shift)
        if not byte & _MORE:
            return value, place
    raise IndexError("a number without end")


def main() -> int:
    """Print what the kubelet at the given socket says, as JSON; return the exit status."""
    try:
        found = by_gpu(Path(sys.argv[1]))
    except PodsUnknown as why:
        sys.stderr.write(f"{why}\n")
        return 1
    rows = {uuid: (pod.namespace, pod.name, pod.container) for uuid, pod in found.items()}
    sys.stdout.write(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
