"""Reports whose GPUs are not read anew: whatever is left out, nothing comes of it differently."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.fleet.memory import Fleet, Heard
from scheduler.wire.reports import (
    GpuReport,
    GpuUse,
    MemoryOver,
    NodeReport,
    RatioOver,
    RunUse,
    UnreadReport,
    WattsOver,
    XidCount,
    decode,
    decode_unread,
    encode,
)
from tests.build import NOON

AT = NOON.timestamp()

GPUS = st.builds(
    lambda uuid, memory, healthy, why, xids: GpuReport(
        index=0,
        uuid=uuid,
        model="H100",
        memory_mib=memory,
        healthy=healthy,
        why_unhealthy=why,
        xids=tuple(XidCount(xid=number, count=1) for number in xids),
    ),
    uuid=st.sampled_from(["GPU-1", 'Gpü \\ "']),
    memory=st.sampled_from([None, 81_559]),
    healthy=st.booleans(),
    why=st.sampled_from(["", "lost\n"]),
    xids=st.lists(st.integers(1, 99), max_size=2),
)
REPORTS = st.builds(
    lambda node, boot, sequence, gpu, block, sm: NodeReport(
        node=node,
        pool="p",
        boot_id=boot,
        sequence=sequence,
        sampled_at=NOON,
        block=block,
        gpus=(gpu,),
        use=(
            GpuUse(
                index=0,
                sm_active=RatioOver(sm, sm, sm),
                memory_mib=MemoryOver(5.0, 5.0, 5.0),
                power_watts=WattsOver(80.0, 80.0, 80.0),
                runs=(RunUse(run="r", memory_mib=sm * 900),) if sm > 0.5 else (),
            ),
        ),
    ),
    node=st.sampled_from("ab"),
    boot=st.sampled_from("xy"),
    sequence=st.integers(0, 9),
    gpu=GPUS,
    block=st.sampled_from(["", "leaf-1"]),
    sm=st.sampled_from([0.0, 0.25, 0.75]),
)


def tell(fleet, found):
    """Take a message in as the API does; return what each report was."""
    heard = []
    for report in found:
        heard.append(fleet.hear(report, AT))
        if heard[-1] is Heard.NEWS:
            fleet.stored(report.read() if isinstance(report, UnreadReport) else report, AT)
    return heard


def known(fleet):
    """Return all that a fleet knows, with what its GPUs did."""
    return [
        (
            seat.sequence,
            seat.facts,
            seat.said,
            fleet.now(name, 0),
            fleet.idle_since(name, 0),
            fleet.works(name, 0, "r"),
            [str(row) for row in fleet.rolled_up(name)],
        )
        for name, seat in sorted((name, fleet.seat(name)) for name in fleet.names())
    ]


@given(st.lists(st.lists(REPORTS, min_size=1, max_size=4), max_size=6))
def test_leaving_known_gpus_unread_changes_nothing(messages):
    whole, part = Fleet(60), Fleet(60)
    for message in messages:
        body = encode(message)
        read = tell(whole, decode(body).reports)
        assert tell(part, decode_unread(body, part.knows)) == read
    assert known(part) == known(whole)


def body(sequence, **gpu):
    made = {"index": 0, "uuid": "GPU-1", "model": "H100", **gpu}
    report = {"node": "n", "pool": "p", "boot_id": "b", "sequence": sequence, "gpus": [made]}
    return json.dumps({"reports": [report | {"sampled_at": NOON.isoformat()}]}).encode()


def test_gpus_are_left_out_while_they_are_spelled_as_our_agents_do():
    fleet = Fleet(60)
    (first,) = decode_unread(encode(decode(body(1)).reports), fleet.knows)
    assert isinstance(first, NodeReport)
    tell(fleet, [first])
    (again,) = decode_unread(encode(decode(body(2)).reports), fleet.knows)
    assert isinstance(again, UnreadReport)
    assert again.read().gpus == first.gpus
    assert tell(fleet, [again]) == [Heard.SAME]


def test_gpus_that_are_spelled_otherwise_are_read_and_are_no_news():
    fleet = Fleet(60)
    tell(fleet, decode(body(1)).reports)
    for sequence, gpu in ((2, {}), (3, {"healthy": True})):
        (found,) = decode_unread(body(sequence, **gpu), fleet.knows)
        assert isinstance(found, NodeReport)
        assert tell(fleet, [found]) == [Heard.SAME]


@pytest.mark.parametrize(
    ("gpu", "where"),
    [
        pytest.param({"index": 64}, "$.reports[0].gpus[0].index", id="an index out of range"),
        pytest.param({"mood": 1}, "$.reports[0].gpus[0]", id="a field of a newer agent"),
        pytest.param({"uuid": "\x00"}, "$.reports[0].gpus[0].uuid", id="text that cannot be kept"),
    ],
)
def test_what_is_wrong_with_gpus_has_its_place_in_the_message(gpu, where):
    fleet = Fleet(60)
    tell(fleet, decode(body(1)).reports)
    with pytest.raises(msgspec.ValidationError, match="`") as found:
        decode_unread(body(2, **gpu), fleet.knows)
    assert f"`{where}`" in str(found.value)


def test_facts_that_became_others_while_a_report_was_on_its_way_are_read_after_all():
    fleet = Fleet(60)
    tell(fleet, decode(body(1)).reports)
    (found,) = decode_unread(encode(decode(body(3)).reports), fleet.knows)
    sick = decode(body(2, healthy=False)).reports
    assert tell(fleet, sick) == [Heard.NEWS]
    assert tell(fleet, [found]) == [Heard.NEWS]
    assert fleet.seat("n").said.ailments == ()
