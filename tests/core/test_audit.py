"""Whatever single row of the audit log is changed, taken out or moved, the chain tells."""

import json
from dataclasses import fields, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.audit import (
    GENESIS,
    HIDDEN,
    Broken,
    Chain,
    Entry,
    Head,
    Row,
    Who,
    Wrong,
    canonical,
    seal,
)
from tests.build import NOON

SECRET = "cp_user_" + "A" * 43
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
values = st.none() | st.dictionaries(texts, st.none() | st.integers() | texts, max_size=3)
entries = st.builds(
    Entry,
    at=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(  # noqa: DTZ001
        lambda at: at.replace(tzinfo=NOON.tzinfo)
    ),
    who=st.builds(Who, texts, texts, texts, texts),
    action=texts,
    object=texts,
    before=values,
    after=values,
    reason=texts,
    decision=texts,
)


def logs(least=1):
    return st.lists(entries, min_size=least, max_size=8).map(lambda some: list(seal(some, Head())))


def entry(number, **more):
    said = {
        "at": NOON,
        "who": Who("ann", "api"),
        "action": "node.drain",
        "object": f"node:{number}",
    }
    return Entry(**said | more)


def checked(rows, head=None, checkpoint=None, start=None):
    chain = Chain(start or Head(), checkpoint)
    return chain.follow(rows) or chain.ends(head)


@settings(deadline=None)
@given(logs())
def test_what_was_sealed_holds(rows):
    assert checked(rows, rows[-1].head) is None


@settings(deadline=None)
@given(logs(), st.data())
def test_a_changed_word_is_found_at_its_row(rows, data):
    place = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from([field.name for field in fields(Row)]))
    old = getattr(rows[place], name)
    match old:
        case datetime():
            new = old + timedelta(microseconds=1)
        case int():
            new = old + 100_000
        case None:
            new = "null"
        case _:
            new = old + "x"
    rows[place] = replace(rows[place], **{name: new})
    broken = checked(rows)
    assert broken is not None
    # A hash or a link that was changed may be told by the row that follows on it.
    assert broken.sequence in {place + 1, place + 2}


@settings(deadline=None)
@given(logs(least=2), st.data())
def test_a_row_that_was_taken_out_is_named(rows, data):
    place = data.draw(st.integers(0, len(rows) - 1))
    head = rows[-1].head
    del rows[place]
    broken = checked(rows, head)
    assert broken is not None
    assert (broken.sequence, broken.wrong) == (place + 1, Wrong.MISSING)


@settings(deadline=None)
@given(logs(least=2), st.data())
def test_two_rows_that_changed_places_are_found(rows, data):
    some = st.integers(0, len(rows) - 1)
    one, other = sorted(data.draw(st.lists(some, min_size=2, max_size=2, unique=True)))
    a, b = rows[one], rows[other]
    rows[one] = replace(b, sequence=a.sequence)
    rows[other] = replace(a, sequence=b.sequence)
    broken = checked(rows)
    assert broken is not None
    assert (broken.sequence, broken.wrong) == (one + 1, Wrong.REORDERED)
    assert f"was written as row {other + 1}" in broken.sentence


@settings(deadline=None)
@given(logs(least=2), st.data())
def test_rows_renumbered_over_a_gap_are_found(rows, data):
    place = data.draw(st.integers(0, len(rows) - 2))
    rest = [replace(row, sequence=row.sequence - 1) for row in rows[place + 1 :]]
    assert checked(rows[:place] + rest) is not None


@settings(deadline=None)
@given(logs(least=2), st.data())
def test_a_tail_that_was_cut_off_is_told_by_the_head_and_by_a_checkpoint(rows, data):
    left = data.draw(st.integers(0, len(rows) - 1))
    for told in ({"head": rows[-1].head}, {"checkpoint": rows[-1].head}):
        broken = checked(rows[:left], **told)
        assert broken is not None
        assert (broken.sequence, broken.wrong) == (left + 1, Wrong.MISSING)


@settings(deadline=None)
@given(logs(least=2), entries, st.data())
def test_a_log_written_anew_is_told_by_a_checkpoint(rows, other, data):
    """Whoever can write everything makes a sound chain, but not the hash that was kept."""
    place = data.draw(st.integers(0, len(rows) - 1))
    checkpoint = rows[data.draw(st.integers(place, len(rows) - 1))].head
    kept = rows[:place]
    anew = [*kept, *seal([other] * (len(rows) - place), kept[-1].head if kept else Head())]
    if anew == rows:
        return
    assert checked(anew, anew[-1].head) is None
    broken = checked(anew, anew[-1].head, checkpoint)
    assert anew[checkpoint.sequence - 1].head == checkpoint or broken is not None


@settings(deadline=None)
@given(logs(least=2), st.data())
def test_a_part_is_followed_from_the_row_before_it(rows, data):
    first = data.draw(st.integers(1, len(rows) - 1))
    start = rows[first - 1].head
    assert checked(rows[first:], rows[-1].head, start=start) is None
    changed = replace(rows[first], actor=rows[first].actor + "x")
    assert checked([changed, *rows[first + 1 :]], start=start).wrong is Wrong.CHANGED


def test_a_change_says_what_is_wrong_in_a_sentence():
    rows = list(seal([entry(n) for n in range(3)], Head()))
    rows[1] = replace(rows[1], actor="eve")
    told = "what row 2 says does not give its hash: it was changed after it was written"
    assert checked(rows) == Broken(2, Wrong.CHANGED, told)
    told = "after row 1 comes row 3: row 2 was taken out"
    assert checked(rows[::2]) == Broken(2, Wrong.MISSING, told)


def test_the_first_row_follows_on_nothing():
    (row,) = seal([entry(1)], Head())
    assert (row.sequence, row.previous) == (1, GENESIS)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param(
            {"token": "x", "api_key": "y"}, {"token": HIDDEN, "api_key": HIDDEN}, id="name"
        ),
        pytest.param({"smtp_Password": "x"}, {"smtp_Password": HIDDEN}, id="a name's last part"),
        pytest.param({"why": f"use {SECRET}!"}, {"why": f"use {HIDDEN}!"}, id="a token in a text"),
        pytest.param({"deep": [{"secret": 1}]}, {"deep": [{"secret": HIDDEN}]}, id="deep inside"),
        pytest.param({"token_id": "9f86"}, {"token_id": "9f86"}, id="an id is no secret"),
    ],
)
def test_secrets_are_never_kept(value, kept):
    assert json.loads(canonical(value)) == kept


def test_a_secret_in_a_reason_is_not_kept_either():
    (row,) = seal([entry(1, reason=f"lost {SECRET}", who=Who(SECRET, "api"))], Head())
    assert SECRET not in repr(row)


def test_text_that_no_database_takes_is_replaced():
    (row,) = seal([entry(1, reason="a\x00b\ud800c")], Head())
    assert row.reason == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"


@settings(deadline=None)
@given(st.dictionaries(texts, st.integers(), min_size=2))
def test_equal_values_have_one_spelling(value):
    again = dict(reversed(value.items()))
    assert canonical(value) == canonical(again)
