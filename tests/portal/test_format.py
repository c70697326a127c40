"""Times and amounts in the viewer's words."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.format import (
    JOB_LOOKS,
    QUOTA_WORDS,
    TIER_WORDS,
    ago,
    ahead,
    count,
    gang,
    moment,
    parse_duration,
    plain,
    shortened,
    span,
    tiers,
)
from scheduler.core.lifecycle import JobState
from scheduler.core.model import QuotaClass, Tier

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        pytest.param(-3, "just now", id="a hub whose clock is ahead"),
        pytest.param(4, "just now", id="seconds"),
        pytest.param(45, "45 s ago", id="under a minute"),
        pytest.param(59.7, "1 min ago", id="rounds up to a minute, not to 60 s"),
        pytest.param(180, "3 min ago", id="minutes"),
        pytest.param(5 * 3600, "5 h ago", id="hours"),
        pytest.param(3 * 86_400, "3 days ago", id="days"),
    ],
)
def test_the_past_is_said_in_one_unit(seconds, said):
    assert ago(NOON - timedelta(seconds=seconds), NOON) == said


def test_the_future_is_an_estimate_and_a_past_one_is_due():
    assert ahead(NOON + timedelta(seconds=118), NOON) == "in about 2 min"
    assert ahead(NOON - timedelta(seconds=1), NOON) == "any moment now"


def test_an_exact_time_is_in_the_viewers_zone_and_has_a_date_unless_it_is_today():
    tokyo = ZoneInfo("Asia/Tokyo")
    assert moment(NOON, NOON, tokyo) == "21:00:00"
    assert moment(NOON - timedelta(hours=22), NOON, tokyo) == "3 Mar 2026 23:00"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("30 min", 1800),
        ("2h 30m", 9000),
        ("2h30m", 9000),
        ("7d", 604_800),
        ("600", 600),
        ("10 sec", 10),
    ],
)
def test_a_length_of_time_is_read_as_people_write_it(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["soon", "1.5h", "0", "-3m", "3 weeks", "2h,", "٣m", "0h 0m"])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(ValueError, match="not a length of time"):
        parse_duration(text)


def test_no_words_are_no_limit():
    assert parse_duration("  ") is None


@given(st.integers(1, 10**9))
def test_a_length_is_said_in_at_most_two_units_that_read_back_to_the_same_or_less(seconds):
    said = span(timedelta(seconds=seconds))
    words = said.split()
    back = parse_duration(said)
    assert len(words) in (2, 4)
    assert back is not None
    assert seconds - back.total_seconds() < max(1, seconds / 2)


def test_nothing_is_no_time():
    assert span(timedelta()) == "0 s"


def test_amounts_have_their_noun():
    assert (count(1, "GPU"), count(12_000, "GPU")) == ("1 GPU", "12,000 GPUs")
    assert gang(1, 1) == "1 GPU"
    assert gang(2, 8) == "16 GPUs (2 nodes × 8)"  # noqa: RUF001  # a real times sign
    assert tiers(Tier.TEAM, Tier.TEAM) == "Team only"


def test_every_state_class_and_tier_has_a_word():
    assert set(JOB_LOOKS) == set(JobState)
    assert len({look.word for look in JOB_LOOKS.values()}) == len(JobState)
    assert set(QUOTA_WORDS) == set(QuotaClass)
    assert set(TIER_WORDS) == set(Tier)


def test_peoples_text_cannot_become_markup():
    assert plain("a_b *c* [x](http://y) $z$ `q`\n# h <i> &amp;") == (
        r"a\_b \*c\* \[x\]\(http\://y\) \$z\$ \`q\` \# h \<i\> \&amp;"
    )
    assert ":material" not in plain(":material/home:").replace("\\", "")


def test_a_long_line_is_cut_where_it_is_said():
    assert shortened("x" * 100, 10) == "x" * 9 + "…"
    assert shortened("two\nlines", 20) == "two lines"
