"""Delivers reports to the hub in a thread of its own, with a client that is small.

A report is the whole truth of the moment and of the time since the last one that was taken,
so while the hub is away nothing needs to be kept but that time's windows. Pauses double, and
are shortened at random so that thousands of agents do not come back at once.
"""

import threading
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from secrets import SystemRandom
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
import urllib3

from agents.node.launch import Orders
from agents.node.leases import HeardLeases
from agents.node.lines import log
from agents.tokens import TokenUnreadable, read_token
from scheduler.wire.reports import NodeReport, encode

_PATH = "/v1/nodes/report"
_TIMEOUT = urllib3.Timeout(connect=5, read=30)
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
_FIRST, _LONGEST = 0.2, 15.0
_SHORTEST, _SELDOM = 0.05, 3600.0
_OK = range(200, 300)

Report = Callable[[int], NodeReport | None]


class Reply(msgspec.Struct, frozen=True):
    """What is read of the hub's answer; what a newer hub adds is passed over."""

    next_report_seconds: float
    refused: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    launches: Orders | None = None
    leases: tuple[HeardLeases, ...] = ()
    leases_seconds_old: float | None = None


class Delivery:
    """The thread that reports. `outcomes` counts reports by what became of them."""

    def __init__(
        self, hub: str, token_file: Path, report: Report, taken: Callable[[Reply], None]
    ) -> None:
        """Deliver what `report` makes of each number; call `taken` with the hub's answer.

        Where `report` makes None there is nothing to tell yet.
        """
        self._url, self._token_file = hub + _PATH, token_file
        self._report, self._taken = report, taken
        self._notes: frozenset[str] = frozenset()
        self._http = _client(hub)
        self._random = SystemRandom()
        self._sequence, self._pause = 0, _FIRST
        self._told, self._news = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        self.outcomes: Counter[str] = Counter(accepted=0, refused=0, hub_away=0)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; without being stopped it ends of a fault of ours alone."""
        return self._thread.is_alive()

    def stop(self, seconds: float) -> None:
        """End, without waiting longer for an answer that does not come."""
        self._told.set()
        self._news.set()
        self._thread.join(seconds)

    def hurry(self) -> None:
        """Report now and not when the hub next wants to hear: there is news."""
        self._news.set()

    def _run(self) -> None:
        while not self._told.is_set():
            self._news.clear()
            report = self._report(self._sequence)
            if report is None:
                self._told.wait(_FIRST)
            else:
                self._deliver(report)

    def _deliver(self, report: NodeReport) -> None:
        """Deliver one report, and wait until it is time for the next."""
        try:
            reply = self._answered(report)
        except (urllib3.exceptions.HTTPError, TokenUnreadable, _Refused) as why:
            kind = "refused" if isinstance(why, _Refused | TokenUnreadable) else "hub_away"
            self.outcomes[kind] += 1
            log.warning("report_not_taken", kind=kind, why=str(why))
            pause, self._pause = self._pause, min(2 * self._pause, _LONGEST)
            self._told.wait(pause * self._random.uniform(0.5, 1))
            return
        self.outcomes["accepted"] += 1
        self._taken(reply)
        for note in set(reply.notes) - self._notes:
            log.warning("hub_notes", note=note)
        self._notes = frozenset(reply.notes)
        self._sequence, self._pause = self._sequence + 1, _FIRST
        seconds = max(_SHORTEST, min(reply.next_report_seconds, _SELDOM))
        # A tenth earlier at random: agents that were started together drift apart.
        self._news.wait(seconds * self._random.uniform(0.9, 1))

    def _answered(self, report: NodeReport) -> Reply:
        """Return what the hub answers to a report that it took.

        Raises:
            urllib3.exceptions.HTTPError: the hub is away, or says to try again.
            TokenUnreadable: the token's file is not as it should be.
            _Refused: the hub says no, or something that no hub says.
        """
        answer = self._http.request(
            "POST",
            self._url,
            body=encode((report,)),
            headers={
                "Authorization": f"Bearer {read_token(self._token_file)}",
                "Content-Type": "application/json",
            },
            timeout=_TIMEOUT,
            retries=False,
        )
        said = answer.data.decode(errors="replace")
        if answer.status in _TRY_AGAIN:
            raise urllib3.exceptions.HTTPError(f"{answer.status}: {said[:200]}")
        if answer.status not in _OK:
            raise _Refused(f"{answer.status}: {said[:500]}")
        try:
            reply = msgspec.json.decode(answer.data, type=Reply)
        except msgspec.DecodeError as error:
            raise _Refused(f"an answer this agent cannot read: {said[:200]}") from error
        if reply.refused:
            raise _Refused("; ".join(f"{r.get('field')}: {r.get('detail')}" for r in reply.refused))
        return reply


class _Refused(Exception):  # noqa: N818  # a state, told by its name
    """The hub says no, and would say so again."""


def _client(hub: str) -> urllib3.PoolManager:
    """Return a client, through the environment's proxy where that leads to the hub."""
    parts = urlsplit(hub)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    if proxy is None or _is_local(host) or proxy_bypass(host):
        return urllib3.PoolManager(num_pools=1, maxsize=1)
    return urllib3.ProxyManager(proxy, num_pools=1, maxsize=1)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
