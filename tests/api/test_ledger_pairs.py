"""The balance of pairs, asked of a hub: what was lent, and what the agreement's cap let through."""

from decimal import Decimal

import pytest

from tests.api.signing_in import signed_in, with_desk
from tests.api.test_ledger import lent

__all__ = ["lent"]


async def test_a_pairs_line_ends_where_the_ledger_does_and_its_cap_is_told(lent):
    for who in ("dana", "iris", "admin"):  # sums are everybody's
        answer = await lent.call(who, "GET", "/v1/ledger/pairs?parts=10")
        (pair,) = answer.json()["pairs"]
        assert (pair["first"], pair["second"], pair["loans"]) == ("academic", "industry", 1)
        line = [Decimal(value) for value in pair["balance_h100e_seconds"]]
        assert (line[0], line[-1], len(line)) == (0, Decimal(8 * 610), 11)
        assert pair["agreements"] == ["state-u-lends-industry"]
        assert pair["cap_gpus"] == 8
        # Thirty days of eight GPUs.
        assert Decimal(pair["limit_h100e_seconds"]) == 8 * 30 * 86_400


@pytest.mark.parametrize(
    "asked", ["parts=0", "parts=367", "by=planet", "from=yesterday", "from=2026-03-09T00:00Z"]
)
async def test_a_question_that_makes_no_sense_is_refused_by_its_name(small, asked):
    answer = await small.call("dana", "GET", f"/v1/ledger/pairs?{asked}")
    assert answer.status_code == 422
    assert answer.json()["field"] == asked.partition("=")[0]


async def test_nobody_who_is_not_signed_in_sees_sums(small):
    with_desk(small)
    dana = await signed_in(small, "dana")
    assert (await dana.get("/v1/ledger/pairs")).json()["pairs"] == []
    assert (await small.http.get("/v1/ledger/pairs")).status_code == 401
    assert (await small.call("national-node", "GET", "/v1/ledger/pairs")).status_code == 403
