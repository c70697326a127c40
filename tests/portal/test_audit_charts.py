"""What the audit page draws, and where its rows lead."""

from datetime import UTC, date, datetime

import pytest

from portal.about import address_of
from portal.charts.audit import by_day, decisions, events, outcomes
from scheduler.wire.audit import AuditCount, AuditCounts

SINCE, UNTIL = datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 3, 9, tzinfo=UTC)


def counts(*some):
    return AuditCounts(
        since=SINCE,
        until=UNTIL,
        counts=tuple(
            AuditCount(day=date(2026, 3, day), action=action, count=many)
            for day, action, many in some
        ),
    )


def test_a_day_without_events_is_a_gap_and_not_left_out():
    rows = by_day(counts((1, "job.submit", 4), (3, "job.cancel", 1)))
    assert [(row["day"], row["events"]) for row in rows] == [
        ("2026-03-01", 4),
        ("2026-03-02", 0),
        ("2026-03-03", 1),
    ]


def test_the_rarest_kinds_are_one_so_that_colours_can_be_told_apart():
    some = [(1, f"kind{n}.x", 10 - n) for n in range(9)]
    rows = by_day(counts(*some))
    kinds = dict.fromkeys(row["kind"] for row in rows)
    assert list(kinds) == [*(f"kind{n}" for n in range(6)), "other kinds"]
    assert sum(row["events"] for row in rows) == sum(many for _, _, many in some)


@pytest.mark.parametrize("dark", [False, True])
def test_the_sentence_says_what_the_picture_shows(dark):
    found = counts((1, "job.submit", 4), (2, "request.deny", 1))
    assert events(found, dark=dark).alt == (
        "5 events from 2026-03-01 to 2026-03-03, most on 2026-03-01 (4). By kind: 4 job, 1 request."
    )
    assert decisions(found.counts, dark=dark).alt == "Decisions on requests: denied: 1."


def test_decisions_are_counted_by_outcome_and_comments_are_none():
    some = counts((1, "request.approve", 2), (2, "request.approve", 1), (2, "request.comment", 9))
    assert outcomes(some.counts) == {"approvals": 3}


@pytest.mark.parametrize(
    ("thing", "address"),
    [
        ("job:jq4", "/job?id=jq4"),
        ("run:cp-jq4-2", "/job?id=jq4"),
        ("request:r7", "/request?id=r7"),
        ("policy:12", "/policy"),
        ("node:n 1/x", "/operations?node=n%201%2Fx"),
        ("token:9f", "/audit?object=token%3A9f"),
        ("audit", ""),
    ],
)
def test_a_row_leads_to_what_it_is_about(thing, address):
    assert address_of(thing) == address
