"""Which earlier decisions stand beside a request."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler import policy_file
from scheduler.core.approvals import RequestState
from scheduler.core.precedents import Past, similar
from scheduler.core.request_kinds import RequestKind

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
POLICY = policy_file.load(Path("infra/policies/demo.yaml").read_text(encoding="utf-8"), 1)


def past(name, account, hours=1, state=RequestState.APPLIED, kind=RequestKind.BUDGET):
    return Past(name, kind, account, state, NOON - timedelta(hours=hours))


ASKED = past("now", "arl", 0, RequestState.OPEN)


def test_the_same_account_goes_before_its_institution_and_that_before_others():
    some = [past("other", "state-u", 1), past("team", "arl-vision", 2), past("same", "arl", 3)]
    assert similar(ASKED, some, POLICY) == ["same", "team", "other"]


def test_among_equals_the_newest_goes_first_and_no_more_than_asked_are_told():
    some = [past(f"r{hours}", "arl", hours) for hours in (4, 1, 3, 2)]
    assert similar(ASKED, some, POLICY, 3) == ["r1", "r2", "r3"]


UNDECIDED = set(RequestState) - {RequestState.APPLIED, RequestState.APPROVED, RequestState.DENIED}


@pytest.mark.parametrize("state", sorted(UNDECIDED))
def test_what_nobody_decided_is_no_precedent(state):
    assert similar(ASKED, [past("r1", "arl", state=state)], POLICY) == []


def test_another_kind_and_the_request_itself_are_no_precedent():
    some = [past("r1", "arl", kind=RequestKind.PROJECT), past("now", "arl")]
    assert similar(ASKED, some, POLICY) == []


def test_what_is_the_wholes_has_the_wholes_for_its_like():
    asked = past("now", None, 0, RequestState.OPEN, RequestKind.POLICY)
    some = [past("r1", None, 2, kind=RequestKind.POLICY)]
    assert similar(asked, some, POLICY) == ["r1"]
