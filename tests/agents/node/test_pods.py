"""Which pod has which GPU, from a kubelet that is asked seldom and in its own words."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.node import pods
from agents.node.attribution import Pod
from agents.node.look_up import PodBook, asked_aside
from agents.node.pods import PodsUnknown
from scheduler.clock import SystemClock

RUN = "cp-abc234-1"


def field(number, value):
    """Write a string or message as Protocol Buffers do."""
    assert len(value) < 2**14
    length = len(value)
    head = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([number << 3 | 2]) + head + value


def listed(*given):
    """Return a kubelet's answer: (namespace, pod, resource, ids)."""
    answer = b""
    for namespace, name, resource, ids in given:
        devices = field(1, resource.encode()) + b"".join(field(2, i.encode()) for i in ids)
        container = field(1, b"main") + field(2, devices) + b"\x20\x05"  # and a number after it
        answer += field(
            1, field(1, name.encode()) + field(2, namespace.encode()) + field(3, container)
        )
    return answer


PODS = listed(
    ("ml", f"{RUN}-worker-a", "nvidia.com/gpu", ["GPU-0", "GPU-7::1"]),
    ("ml", "cut", "nvidia.com/mig-1g.10gb", ["MIG-9"]),
    ("net", "dpu", "vendor.com/nic", ["GPU-0"]),
)


def test_the_kubelets_answer_is_read():
    worker = Pod("ml", f"{RUN}-worker-a", "main")
    assert pods.parsed(PODS) == {
        "GPU-0": worker,
        "GPU-7": worker,
        "MIG-9": Pod("ml", "cut", "main"),
    }


@given(st.binary(max_size=60) | st.integers(0, len(PODS)).map(lambda n: PODS[:n]))
def test_an_answer_that_is_cut_or_nonsense_is_refused_and_never_a_crash(answer):
    try:
        found = pods.parsed(answer)
    except PodsUnknown:
        return
    assert all(isinstance(pod, Pod) for pod in found.values())


def test_a_node_without_a_kubelet_has_no_pods(tmp_path):
    assert pods.by_gpu(tmp_path / "none.sock") == {}


@pytest.fixture
def kubelet(tmp_path):
    class Kubelet(grpc.GenericRpcHandler):
        def service(self, call):
            assert call.method == "/v1.PodResourcesLister/List"
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: PODS)

    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Kubelet(),))
    socket = tmp_path / "kubelet.sock"
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    yield socket
    server.stop(None).wait()


def test_a_real_grpc_server_is_asked(kubelet):
    assert set(pods.by_gpu(kubelet)) == {"GPU-0", "GPU-7", "MIG-9"}


def test_it_is_asked_aside_with_the_same_answer(kubelet):
    assert asked_aside(kubelet) == pods.by_gpu(kubelet)


def test_what_went_wrong_aside_is_told_in_the_same_words(tmp_path):
    socket = tmp_path / "kubelet.sock"
    assert asked_aside(socket) == {}
    socket.touch()
    with pytest.raises(PodsUnknown, match=r"kubelet at .*kubelet\.sock"):
        asked_aside(socket)


class SteppedClock(SystemClock):
    at = 0.0

    def monotonic(self):
        return self.at


class Asked:
    """Answers as a kubelet does, and counts how often it was asked."""

    def __init__(self) -> None:
        self.answer, self.times = {"GPU-0": Pod("ml", "a")}, 0

    def __call__(self):
        self.times += 1
        if self.answer is None:
            raise PodsUnknown("it is away")
        return self.answer


def test_the_kubelet_is_asked_when_a_pod_shows_up_and_not_again():
    ask, clock = Asked(), SteppedClock()
    book = PodBook(ask, clock)
    assert book.pods(frozenset()) == {}
    assert ask.times == 0
    for _ in range(3):
        assert book.pods(frozenset({("GPU-0", "uid-a")})) == {"GPU-0": Pod("ml", "a")}
    assert ask.times == 1
    ask.answer = {"GPU-0": Pod("ml", "b")}
    assert book.pods(frozenset({("GPU-0", "uid-b")})) == {"GPU-0": Pod("ml", "b")}
    assert ask.times == 2


def test_what_the_kubelet_does_not_say_is_asked_again_a_minute_later(capsys):
    ask, clock = Asked(), SteppedClock()
    book, seen = PodBook(ask, clock), frozenset({("GPU-0", "uid-a")})
    ask.answer = None
    for _ in range(3):
        assert book.pods(seen) == {}
    assert ask.times == 1
    ask.answer = {"GPU-0": Pod("ml", "a")}
    clock.at = 61
    assert book.pods(seen) == {"GPU-0": Pod("ml", "a")}
    assert capsys.readouterr().err.count("pods_known_by_cgroup_alone") == 1


def test_a_kubelet_that_does_not_answer_is_told_by_its_socket(tmp_path):
    socket = tmp_path / "kubelet.sock"
    socket.touch()
    with pytest.raises(PodsUnknown, match=r"kubelet at .*kubelet\.sock"):
        pods.by_gpu(socket, seconds=1)


def test_without_grpcio_it_is_said_what_is_missing(tmp_path, monkeypatch):
    socket = tmp_path / "kubelet.sock"
    socket.touch()
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(PodsUnknown, match="pip install grpcio"):
        pods.by_gpu(socket)
