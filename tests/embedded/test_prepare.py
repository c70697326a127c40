"""A data folder before the first start, and before every later one."""

import asyncio
import stat
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.config import HubSettings
from scheduler.db.engine import Database
from scheduler.db.tokens import find_token
from scheduler.embedded.layout import Layout
from scheduler.embedded.plan import HEAD_PORTS, Ports, node_names, shared_sites, specs
from scheduler.embedded.prepare import DEMO_POLICY, prepare
from scheduler.embedded.trouble import Trouble
from scheduler.wire.accounts import Scope


class FixedClock:
    def __init__(self, now):
        self._now = now

    def now(self):
        return self._now

    def monotonic(self):
        return 0.0


TODAY = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def layout(tmp_path):
    layout = Layout.of(tmp_path / "data")
    layout.make()
    yield layout
    layout.ray.rmdir()


def prepared(layout, file=None, now=TODAY):
    return prepare(layout, file, FixedClock(now))


def scope_of(layout, name):
    async def looked_up():
        db = Database(HubSettings(data=layout.data, database_url="").sqlalchemy_url)
        try:
            async with db.reading() as conn:
                return await find_token(conn, layout.token(name), TODAY)
        finally:
            await db.close()

    return asyncio.run(looked_up()).scope


def test_a_new_folder_gets_the_demo_policy_and_a_token_for_each_door(layout):
    policy = prepared(layout)
    assert policy.revision == 1
    assert layout.policy.read_text() == DEMO_POLICY.read_text()
    assert scope_of(layout, "admin") is Scope.ADMIN
    assert scope_of(layout, "dana") is Scope.USER
    assert scope_of(layout, "state-u-site") is Scope.SITE
    assert scope_of(layout, "state-u-node") is Scope.NODE


def test_tokens_are_for_their_owner_only(layout):
    prepared(layout)
    for file in layout.tokens.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_second_time_policy_and_tokens_stay_as_they_are(layout):
    prepared(layout)
    before = {file.name: file.read_text() for file in layout.tokens.iterdir()}
    assert prepared(layout).revision == 1
    assert {file.name: file.read_text() for file in layout.tokens.iterdir()} == before


def test_a_token_that_ended_is_made_anew(layout):
    prepared(layout)
    before = layout.token("dana")
    prepared(layout, now=TODAY + timedelta(days=400))
    assert layout.token("dana") != before


def test_a_named_policy_replaces_the_one_in_force_and_is_kept_without_a_name(layout, tmp_path):
    prepared(layout)
    other = tmp_path / "other.yaml"
    other.write_text(DEMO_POLICY.read_text().replace("default_gpus: 1", "default_gpus: 2"))
    assert prepared(layout, other).revision == 2
    assert prepared(layout).rules.default_gpus == 2


def test_a_bad_policy_is_told_line_by_line_and_nothing_is_stored(layout, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(DEMO_POLICY.read_text().replace("half_life: 14d", "half_life: 0d"))
    with pytest.raises(Trouble) as raised:
        prepared(layout, bad)
    assert "line" in raised.value.evidence
    assert "half_life" in raised.value.evidence
    assert prepared(layout).revision == 1


def test_the_demo_policy_becomes_a_hub_three_agents_three_reporters_a_head_and_a_portal(layout):
    policy = prepared(layout)
    ports = Ports(hub=8265, portal=8501, heads=(("arl-team", 11_000),))
    names = [spec.name for spec in specs(layout, policy, ports)]
    assert names == [
        "hub",
        "ray-arl-team",
        "site-arl-team",
        "site-state-u",
        "site-national",
        "nodes-arl-team",
        "nodes-state-u-hpc",
        "nodes-national-hub",
        "portal",
    ]
    assert shared_sites(policy) == ("arl-team",)
    assert [node_names(policy, pool) for pool in policy.pools] == [
        ("arl-team-1",),
        ("state-u-1", "state-u-2"),
        ("national-1", "national-2", "national-3", "national-4"),
    ]


def test_without_a_portal_none_is_started(layout):
    ports = Ports(hub=8265, portal=None, heads=(("arl-team", 11_000),))
    assert "portal" not in [s.name for s in specs(layout, prepared(layout), ports)]


def test_a_head_keeps_to_its_block_of_ports(layout):
    ports = Ports(hub=8265, portal=None, heads=(("arl-team", 11_000),))
    (head,) = [s for s in specs(layout, prepared(layout), ports) if s.name == "ray-arl-team"]
    numbers = {
        int(value)
        for option, value in zip(head.argv, head.argv[1:], strict=False)
        if option.endswith("port")
    }
    assert numbers <= set(range(11_000, 11_000 + HEAD_PORTS))
    assert len(numbers) == 11


def test_only_the_shared_sites_agent_is_told_of_the_head(layout):
    ports = Ports(hub=8265, portal=None, heads=(("arl-team", 11_000),))
    told = [s.name for s in specs(layout, prepared(layout), ports) if "--shared-ray" in s.argv]
    assert told == ["site-arl-team"]
