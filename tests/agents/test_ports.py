"""Ports: never given twice, on the whole machine, and free again when the run is forgotten."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agents import free_ports
from agents.site.ports import LaunchSlots, NoPortsLeft, PortRegistry, loopback


def a_record(folder: Path, run: str) -> Path:
    file = folder / f"{run}.json"
    file.write_text("{}")
    return file


@pytest.fixture
def registry(tmp_path):
    return PortRegistry(tmp_path)


def test_two_runs_share_nothing(registry, tmp_path):
    one = registry.claim("cp-a-1", a_record(tmp_path, "a"), 9)
    two = registry.claim("cp-b-1", a_record(tmp_path, "b"), 15)
    assert (len(one.ports), len(two.ports)) == (9, 15)
    assert not set(one.ports) & set(two.ports)
    assert one.index != two.index


def test_all_ports_are_below_those_of_outgoing_connections(registry, tmp_path):
    claim = registry.claim("cp-a-1", a_record(tmp_path, "a"), 300)
    assert max(claim.ports) < 32_768


def test_the_same_run_gets_its_own_again_and_a_released_one_may_be_given_away(registry, tmp_path):
    record = a_record(tmp_path, "a")
    claim = registry.claim("cp-a-1", record, 9)
    assert registry.claim("cp-a-1", record, 9) == claim
    registry.release("cp-a-1")
    registry.release("cp-a-1")
    assert registry.claim("cp-b-1", a_record(tmp_path, "b"), 9).ports == claim.ports


def test_a_claim_ends_with_its_record_and_a_damaged_claim_is_dropped(registry, tmp_path):
    record = a_record(tmp_path, "a")
    claim = registry.claim("cp-a-1", record, 9)
    record.unlink()
    next(tmp_path.glob("cp-*-ports")).joinpath("cp-x-1.json").write_text("{")
    assert registry.claim("cp-b-1", a_record(tmp_path, "b"), 9).index == claim.index


def test_a_port_that_someone_listens_on_is_passed_over(registry, tmp_path):
    record = a_record(tmp_path, "a")
    (first,) = registry.claim("cp-a-1", record, 1).ports
    registry.release("cp-a-1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert first not in registry.claim("cp-a-1", record, 3).ports


def test_when_there_are_none_it_says_so(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(free_ports, "LAST", free_ports.FIRST + 5)
    with pytest.raises(NoPortsLeft, match="no 9 free ports"):
        registry.claim("cp-a-1", a_record(tmp_path, "a"), 9)


def test_agents_in_several_processes_at_once_get_different_ones(tmp_path):
    code = (
        "import sys; from pathlib import Path; from agents.site.ports import PortRegistry\n"
        "folder, name = Path(sys.argv[1]), sys.argv[2]\n"
        "(folder / name).touch()\n"
        "print(*PortRegistry(folder).claim(name, folder / name, 9).ports)"
    )
    several = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, f"r{i}"], stdout=subprocess.PIPE)
        for i in range(4)
    ]
    given = [port for p in several for port in p.communicate()[0].split()]
    assert len(given) == len(set(given)) == 36


def test_each_run_and_node_has_its_own_loopback_address():
    addresses = {loopback(i, n) for i in range(1, 600) for n in range(8)}
    assert len(addresses) == 599 * 8
    assert all(a.startswith("127.") for a in addresses)


async def test_no_more_nodes_start_at_once_than_there_are_slots(tmp_path):
    most = starting = 0

    async def start():
        nonlocal most, starting
        async with LaunchSlots(2, tmp_path).one():
            starting += 1
            most = max(most, starting)
            await asyncio.sleep(0)
            starting -= 1

    await asyncio.gather(*(start() for _ in range(6)))
    assert most == 2


async def test_the_slot_of_an_agent_that_was_killed_is_free_again(tmp_path):
    code = (
        "import asyncio, sys; from pathlib import Path; from agents.site.ports import LaunchSlots\n"
        "async def hold():\n"
        "    async with LaunchSlots(1, Path(sys.argv[1])).one():\n"
        "        print('held', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(hold())"
    )
    agent = subprocess.Popen(  # noqa: ASYNC220  # nothing else runs meanwhile
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    assert agent.stdout.readline() == b"held\n"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), LaunchSlots(1, tmp_path).one():
            pass
    agent.kill()
    agent.communicate()
    async with asyncio.timeout(5), LaunchSlots(1, tmp_path).one():
        pass
