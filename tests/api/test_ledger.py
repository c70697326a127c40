"""The ledger over HTTP: sums for everybody, entries for those whom they concern (R1, R10)."""

import builtins
import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest

from tests.api.conftest import NOON, POLICY

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def lent(house):
    """Industry borrows a node of the university's for ten minutes, then is recalled; 8 go on."""
    await house.report("state-u")
    borrowed = await house.submit("iris", gpus_per_node=8, tier=["institution"])
    await house.plan()
    run = f"cp-{borrowed['id']}-1"
    await house.sync("state-u", house.observed(run, "running"))
    house.clock.forward(10 * MINUTE)
    await house.submit("alex", nodes=2, gpus_per_node=8, tier=["institution"])
    await house.plan()
    house.clock.forward(MINUTE / 6)
    ended = house.observed(run, "preempted", fenced=True)
    await house.sync("state-u", ended, sequence=2)
    house.clock.forward(MINUTE)
    return house


async def asked(house, who="iris", path="", **params):
    answer = await house.call(who, "GET", f"/v1/ledger{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json() if not path else answer


async def test_everybody_sees_sums_that_add_up_to_zero(lent):
    for who in ("dana", "alex", "iris", "admin"):
        found = await asked(lent, who)
        nets = {one["name"]: Decimal(one["net_h100e_seconds"]) for one in found["balances"]}
        assert nets == {"academic": Decimal(8 * 610), "industry": Decimal(-8 * 610)}
        assert found["matrix"] == [
            {
                "lender": "academic",
                "borrower": "industry",
                "loans": 1,
                "h100e_seconds": "4880.000000000",
            }
        ]


async def test_a_loan_and_its_entries_are_shown_to_both_sides_and_to_no_stranger(lent):
    for who, accounts in (
        ("alex", ["state-u", "state-u-nlp"]),
        ("iris", ["acme", "acme-robotics"]),
        ("admin", None),
    ):
        found = await asked(lent, who)
        assert found["entries_of"] == accounts
        (loan,) = found["loans"]
        assert (loan["lender"]["account"], loan["borrower"]["account"]) == (
            "state-u",
            "acme-robotics",
        )
        assert loan["recalled_at"] == (NOON + 10 * MINUTE).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert [one["side"] for one in found["entries"]] == ["lent", "borrowed"]
        assert sum(Decimal(one["h100e_seconds"]) for one in found["entries"]) == 0
    assert (await asked(lent, "dana"))["loans"] == []
    assert (await asked(lent, "dana"))["entries"] == []


async def test_only_the_borrowers_own_people_and_admins_learn_which_run_it_was(lent):
    runs = {who: (await asked(lent, who))["loans"][0]["run"] for who in ("alex", "iris", "admin")}
    assert runs["alex"] is None
    assert runs["iris"] == runs["admin"] != None  # noqa: E711  # a run's id


async def test_sums_are_grouped_as_asked(lent):
    names = {
        by: {one["name"] for one in (await asked(lent, by=by))["balances"]}
        for by in ("sector", "institution", "account")
    }
    assert names == {
        "sector": {"academic", "industry"},
        "institution": {"state-u", "acme"},
        "account": {"state-u", "acme-robotics"},
    }


async def test_a_recall_is_counted_and_published_with_its_promise(lent):
    found = await asked(lent)
    academic = found["balances"][0]
    assert (academic["name"], academic["recalls"]) == ("academic", 1)
    assert academic["recalled_h100e_seconds"] == "4880.000000000"
    assert [(one["lender"], one["recalls"]) for one in found["recalls"]] == [("state-u-nlp", 1)]


async def test_the_parts_of_a_window_add_up(lent):
    cut = NOON + timedelta(minutes=3, microseconds=1)
    ends = [NOON - MINUTE, cut, NOON + 20 * MINUTE]
    totals = [
        Decimal(
            (await asked(lent, **{"from": a.isoformat(), "to": b.isoformat()}))["matrix"][0][
                "h100e_seconds"
            ]
        )
        for a, b in [(ends[0], ends[1]), (ends[1], ends[2]), (ends[0], ends[2])]
    ]
    assert totals[0] == Decimal("1440.000008")
    assert totals[0] + totals[1] == totals[2]


async def test_a_later_policy_rewrites_no_entry(lent):
    before = await asked(lent, "admin", by="sector")
    moved = POLICY.replace("parent: acme, sector: industry", "parent: acme, sector: allied")
    moved = moved.replace(
        "{name: state-u, parent: national, sector: academic}",
        "{name: state-u, parent: national, sector: dod}",
    )
    assert moved != POLICY
    yaml = {"Content-Type": "text/yaml"}
    answer = await lent.call("admin", "PUT", "/v1/policy?reason=test", content=moved, headers=yaml)
    assert answer.status_code == 200, answer.text
    after = await asked(lent, "admin", by="sector")
    assert (after["balances"], after["loans"]) == (before["balances"], before["loans"])


async def test_loans_come_in_pages_and_all_of_them_once(lent):
    await lent.report("national")
    for _ in range(4):  # the first is within industry's guarantee
        await lent.submit("iris", gpus_per_node=8, tier=["national"])
    await lent.plan()
    lent.clock.forward(MINUTE)
    seen, after = [], None
    while True:
        page = await asked(lent, limit=2, **({"after": after} if after else {}))
        seen += [one["loan"] for one in page["loans"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == page["loans_in_all"] > 3


@pytest.mark.parametrize(
    ("params", "said"),
    [
        pytest.param({"from": "2027-01-01T00:00:00Z"}, "the window is empty", id="the future"),
        pytest.param({"from": "2020-01-01T00:00:00Z"}, "too long", id="more than a year"),
        pytest.param({"by": "person"}, "by", id="an unknown group"),
        pytest.param({"since": "2026-01-01T00:00:00Z", "limit": "0"}, "limit", id="no page"),
        pytest.param({"from": "yesterday"}, "from", id="no time"),
        pytest.param({"who": "dana"}, "who", id="an unknown parameter"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_its_field(house, params, said):
    answer = await house.call("iris", "GET", "/v1/ledger", params=params)
    assert answer.status_code == 422
    assert said in answer.text


@pytest.mark.parametrize("path", ["", "/entries.csv", "/entries.parquet"])
async def test_agents_and_strangers_are_not_told(small, path):
    assert (await small.call("national-node", "GET", f"/v1/ledger{path}")).status_code == 403
    assert (await small.http.get(f"/v1/ledger{path}")).status_code == 401


async def test_csv_holds_the_same_entries_as_the_page_and_only_those(lent):
    page = await asked(lent, "alex")
    answer = await asked(lent, "alex", "/entries.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "commonpool-ledger-entries.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    told = [(row["side"], row["account"], row["h100e_seconds"]) for row in rows]
    assert told == [(e["side"], e["account"], e["h100e_seconds"]) for e in page["entries"]]
    assert rows[0]["counterparty_sector"] == "industry"
    nobodys = (await asked(lent, "dana", "/entries.csv")).text
    assert len(nobodys.splitlines()) == 1


async def test_parquet_holds_exact_amounts(lent):
    pq = pytest.importorskip("pyarrow.parquet")
    answer = await asked(lent, "alex", "/entries.parquet")
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.column("h100e_seconds").to_pylist() == [Decimal(4880), Decimal(-4880)]
    assert table.column("since").to_pylist() == [NOON, NOON]
    empty = pq.read_table(io.BytesIO((await asked(lent, "dana", "/entries.parquet")).content))
    assert empty.num_rows == 0
    assert empty.schema == table.schema


async def test_without_pyarrow_the_hub_says_what_to_do(small, monkeypatch):
    real = builtins.__import__

    def no_arrow(name, *more):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", no_arrow)
    answer = await small.call("dana", "GET", "/v1/ledger/entries.parquet")
    assert answer.status_code == 501
    assert "commonpool[parquet]" in answer.json()["next_step"]
