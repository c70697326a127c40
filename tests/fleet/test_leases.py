"""Agents are told the leases of their nodes, small and where they changed, and how old they are."""

from hypothesis import given
from hypothesis import strategies as st

from agents.node.gateway_leases import GatewayLeases
from agents.node.leases import HeardLease, HeardLeases, KnownLeases
from agents.node.samples import Gpu
from scheduler.fleet.leases import REFRESH_SECONDS, LeaseBook, digest_of
from scheduler.wire.nodes import NodeLease, NodeReportReply
from scheduler.wire.reports import GpuReport, NodeReport
from tests.build import NOON

ONE = NodeLease(run="cp-abc-1", token=3, gpus=(0, 1))
OTHER = NodeLease(run="cp-xyz-2", token=4, gpus=(7,))
GPUS = tuple(Gpu(f"GPU-{i}", i, "H100") for i in range(8))


def book(*leases, began=0.0):
    made = LeaseBook()
    assert made.begin_look("s", began)
    made.put("s", len(leases), {"n": leases} if leases else {}, began)
    made.end_look("s")
    return made


def test_a_list_is_told_to_whoever_has_another_and_to_nobody_else():
    made = book(ONE)
    news = made.news("s", "n", "")
    assert (news.node, news.leases) == ("n", (ONE,))
    assert made.news("s", "n", news.digest) is None
    assert made.news("s", "m", "") is None


def test_the_end_of_the_last_lease_is_told_as_an_empty_list():
    told = book().news("s", "n", digest_of([ONE]))
    assert (told.digest, told.leases) == ("", ())


def test_a_digest_does_not_go_by_order_and_goes_by_all_else():
    assert digest_of([ONE, OTHER]) == digest_of([OTHER, ONE])
    fenced = ONE.model_copy(update={"token": 9})
    assert len({digest_of([]), digest_of([ONE]), digest_of([OTHER]), digest_of([fenced])}) == 4


def test_one_looks_at_a_time_and_not_again_while_it_is_fresh():
    made = LeaseBook()
    assert made.age("s", 0.0) is None
    assert made.begin_look("s", 0.0)
    assert not made.begin_look("s", 0.1)
    made.put("s", 1, {}, 0.0)
    made.end_look("s")
    assert not made.begin_look("s", REFRESH_SECONDS - 0.1)
    assert made.age("s", 4.0) == 4.0
    assert made.begin_look("s", REFRESH_SECONDS)
    assert made.is_as_before("s", 1, REFRESH_SECONDS)
    made.end_look("s")
    assert made.age("s", REFRESH_SECONDS) == 0.0


def test_a_look_that_failed_leaves_what_was_known_with_its_age():
    made = book(ONE)
    assert made.begin_look("s", 60.0)
    made.end_look("s")
    assert made.age("s", 60.0) == 60.0
    assert made.news("s", "n", "").leases == (ONE,)
    assert made.begin_look("s", 60.0)


def heard(*leases, node="n"):
    found = tuple(HeardLease(one.run, one.gpus) for one in leases)
    return HeardLeases(node, digest_of(leases), found)


def test_an_agent_knows_a_list_as_of_when_the_hub_looked():
    known = KnownLeases("n")
    assert known.now(GPUS) == (None, 0.0)
    known.heard((heard(OTHER, node="m"), heard(ONE)), 4.0, 100.0)
    leased, as_of = known.now(GPUS)
    assert (leased, as_of) == ({"cp-abc-1": frozenset({"GPU-0", "GPU-1"})}, 96.0)
    assert known.digest == digest_of([ONE])


def test_a_reply_without_news_brings_the_list_forward_and_a_hub_that_cannot_tell_does_not():
    known = KnownLeases("n")
    known.heard((heard(ONE),), 0.0, 100.0)
    known.heard((), 5.0, 115.0)
    assert known.now(GPUS)[1] == 110.0
    known.heard((), None, 130.0)
    assert known.now(GPUS) == ({"cp-abc-1": frozenset({"GPU-0", "GPU-1"})}, 110.0)
    known.heard((heard(),), 0.0, 145.0)
    assert known.now(GPUS) == ({}, 145.0)


def report(digest="", node="n"):
    gpus = (GpuReport(index=0, uuid="G", model="H100"),)
    return NodeReport(
        node=node, pool="p", boot_id="b", sequence=1, sampled_at=NOON, gpus=gpus,
        lease_digest=digest,
    )  # fmt: skip


def reply(*news, old=0.0):
    return NodeReportReply(accepted=1, next_report_seconds=15, leases=news, leases_seconds_old=old)


class Time:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_gateway_tells_an_agent_at_its_next_report_and_how_old_that_is_by_then():
    clock = Time()
    gateway = GatewayLeases(clock)
    assert gateway.told([report()]) == ((), None)
    news = book(ONE).news("s", "n", "")
    gateway.heard([report()], reply(news, old=2.0), 0.0)
    clock.now = 10.0
    assert gateway.told([report()]) == ((news,), 12.0)
    assert gateway.told([report(news.digest)]) == ((), 12.0)


def test_a_gateway_that_began_anew_passes_on_that_a_list_is_unchanged_and_makes_none_up():
    clock = Time()
    gateway = GatewayLeases(clock)
    digest = digest_of([ONE])
    gateway.heard([report(digest)], reply(), 0.0)
    assert gateway.told([report(digest)]) == ((), 0.0)
    # An agent that began anew too: the list is not known here until the hub tells it.
    assert gateway.told([report("")]) == ((), None)


LISTS = st.lists(st.sampled_from([(), (ONE,), (OTHER,), (ONE, OTHER)]), min_size=1, max_size=12)


@given(LISTS, st.lists(st.booleans(), min_size=12, max_size=12))
def test_whatever_is_lost_on_the_way_an_agent_never_has_a_list_newer_than_it_was(lists, lost):
    """Through a gateway: each step the leases change, and each answer may be lost."""
    clock = Time()
    gateway, agent = GatewayLeases(clock), KnownLeases("n")
    for step, leases in enumerate(lists):
        clock.now = 15.0 * step
        hub = book(*leases, began=clock.now)
        said = report(agent.digest)
        told, old = gateway.told([said])
        if not lost[step]:
            agent.heard(
                tuple(
                    HeardLeases(
                        o.node, o.digest, tuple(HeardLease(x.run, x.gpus) for x in o.leases)
                    )
                    for o in told
                ),
                old,
                clock.now,
            )
        news = hub.news("s", "n", said.lease_digest)
        gateway.heard([said], reply(*([news] if news else [])), clock.now)
        found, as_of = agent.now(GPUS)
        if found is not None:
            then = lists[round(as_of / 15.0)]
            assert set(found) == {one.run for one in then}
