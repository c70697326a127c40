"""Looks up whose processes are on GPUs, in a thread of its own: /proc and kubelets may block.

It looks when a process came or went, or leases are others; otherwise seldom.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from agents.node import pods
from agents.node.attribution import Holder, Pod, Rights, holders, in_pods
from agents.node.leases import KnownLeases
from agents.node.lines import log
from agents.node.origins import Origins
from agents.node.pods import PodsUnknown
from agents.node.sampler import Sampler
from scheduler.clock import Clock

_EVERY_SECONDS = 15.0
"""Also when no process came or went: a number may be another process's by now."""
_FRESH_SECONDS = 30.0
_AGAIN_SECONDS = 60.0
_KUBELET_SECONDS = 15.0

Ask = Callable[[], Mapping[str, Pod]]


class PodBook:
    """Knows which pod has which GPU, and asks only when a process of another pod shows up."""

    def __init__(self, ask: Ask, clock: Clock) -> None:
        self._ask, self._clock = ask, clock
        self._pods: Mapping[str, Pod] = {}
        self._settled: frozenset[tuple[str, str]] = frozenset()
        self._again_at = float("-inf")
        self._complaint = ""

    def pods(self, seen: frozenset[tuple[str, str]]) -> Mapping[str, Pod]:
        """Return the pods by GPU, good for the (GPU, pod's uid) that were `seen`."""
        now = self._clock.monotonic()
        if seen <= self._settled or now < self._again_at:
            return self._pods
        complaint = ""
        try:
            self._pods = self._ask()
        except PodsUnknown as why:
            self._pods, complaint = {}, str(why)
        if complaint and complaint != self._complaint:
            log.warning("pods_known_by_cgroup_alone", why=complaint)
        self._complaint = complaint
        self._settled = frozenset(pair for pair in seen if pair[0] in self._pods)
        if self._settled != seen:
            self._again_at = now + _AGAIN_SECONDS
        return self._pods


class LookUp:
    """The thread that looks processes up."""

    def __init__(
        self,
        node: str,
        clock: Clock,
        sampler: Sampler,
        leases: KnownLeases,
        ask: Ask | None = None,
    ) -> None:
        """Ask the kubelet by `ask`; by default in a process of its own."""
        self._clock, self._sampler, self._leases = clock, sampler, leases
        self._news = sampler.moved
        self._origins = Origins(node)
        self._book = PodBook(ask or asked_aside, clock)
        self._found: tuple[float, tuple[Holder, ...]] | None = None
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, name="look-up", daemon=True)

    def start(self) -> None:
        """Begin to look processes up."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; without being stopped it ends of a fault of ours alone."""
        return self._thread.is_alive()

    def stop(self, seconds: float) -> None:
        """End."""
        self._told.set()
        self._news.set()
        self._thread.join(seconds)

    def hurry(self) -> None:
        """Look now: leases are others than they were."""
        self._news.set()

    def known(self) -> tuple[Holder, ...] | None:
        """Return whose the processes are, or None if that is not known now."""
        found = self._found
        if found is None or self._clock.monotonic() - found[0] > _FRESH_SECONDS:
            return None
        return found[1]

    def _run(self) -> None:
        while not self._told.is_set():
            self._news.clear()
            samples = tuple(self._sampler.view().samples.values())
            # Before /proc is read: what is heard meanwhile is for the next look.
            leased = self._leases.now(sample.gpu for sample in samples)
            seen = self._origins.seen()
            rights = Rights(*leased, pods=self._book.pods(in_pods(samples, seen)))
            found = holders(samples, rights, seen)
            self._origins.forget_others()
            self._found = (self._clock.monotonic(), found)
            self._news.wait(_EVERY_SECONDS)


def asked_aside(socket: Path = pods.SOCKET) -> Mapping[str, Pod]:
    """Ask the kubelet in a process of its own, for grpcio would add twenty MiB to this one.

    Raises:
        PodsUnknown: the kubelet is there, and cannot be asked.
    """
    if not socket.exists():
        return {}
    command = [sys.executable, "-m", "agents.node.pods", str(socket)]
    try:
        said = subprocess.run(  # noqa: S603  # our own program, no shell
            command, capture_output=True, text=True, timeout=_KUBELET_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PodsUnknown(f"kubelet at {socket}: no answer in {_KUBELET_SECONDS:.0f} s") from error
    if said.returncode:
        raise PodsUnknown(said.stderr.strip() or f"status {said.returncode}")
    return {uuid: Pod(*words) for uuid, words in json.loads(said.stdout).items()}
