"""Values that YAML can write and nobody can have meant: each is told, at its line."""

from pathlib import Path

import pytest

from scheduler import policy_file

DEMO = (Path(__file__).parents[2] / "infra/policies/demo.yaml").read_text()


def told(before: str, after: str) -> list[str]:
    assert before in DEMO
    return [str(problem) for problem in policy_file.check(DEMO.replace(before, after, 1))]


NAME = "is not allowed: lower-case letters, digits, '.', '_' and '-', at most 63"
DURATION = "is not allowed: a whole number and a unit, such as 30s, 10m, 2h or 14d; more than zero"
GPUS = "max_gpus_per_job: 4096"
CLOSED = "{id: closed, pool: national-hub, starts_at"
ODD = [
    pytest.param(
        "agreements:\n",
        f"maintenance:\n  - {CLOSED}: 2026-01-01, ends_at: 9999-12-31}}\nagreements:\n",
        "line 87: maintenance[0].ends_at: 9999-12-31T00:00:00+00:00 is not in the years 1970 to "
        "2999",
        id="maintenance for ever, after which nothing could end",
    ),
    pytest.param(
        "agreements:\n",
        f"maintenance:\n  - {CLOSED}: 0001-01-01, ends_at: 2027-01-01}}\nagreements:\n",
        "line 87: maintenance[0].starts_at: 0001-01-01T00:00:00+00:00 is not in the years 1970 to "
        "2999",
        id="maintenance since ever, before which nobody could be told",
    ),
    pytest.param(
        "{name: dana,",
        '{name: "dana\\n",',
        f'line 24: users[0].name: "dana\\n" {NAME}',
        id="a name that ends with a line end",
    ),
    pytest.param(
        "half_life: 14d ",
        'half_life: "14d\\n" ',
        f'line 9: rules.half_life: "14d\\n" {DURATION}',
        id="a duration that ends with a line end",
    ),
    pytest.param(
        "valid_to: 2036-01-01\n",
        "valid_to: 9999-12-31T23:59:59-14:00\n",
        "line 87: agreements[0]: '9999-12-31T23:59:59-14:00' is no instant: date value out of "
        "range",
        id="an instant after the last that there is",
    ),
    pytest.param(
        GPUS,
        "max_gpus_per_job: !!bool maybe",
        "line 14: (the file): not YAML: 'maybe' is not what its tag says (bool)",
        id="a tag that does not fit its value",
    ),
    pytest.param(
        GPUS,
        'max_gpus_per_job: !!int ""',
        "line 14: (the file): not YAML: '' is not what its tag says (int)",
        id="a number without a digit",
    ),
    pytest.param(
        GPUS,
        "max_gpus_per_job: 0777",
        "line 14: (the file): not YAML: 0777 is 511 to some readers of YAML and not to others: "
        "write plain digits, without a zero before them",
        id="a number that is octal to some",
    ),
    pytest.param(
        GPUS,
        "max_gpus_per_job: 1:30",
        "line 14: (the file): not YAML: 1:30 is 90 to some readers of YAML and not to others: "
        "write plain digits, without a zero before them",
        id="a number that is minutes to some",
    ),
    pytest.param(
        GPUS,
        f"max_gpus_per_job: {'9' * 5000}",
        "line 14: (the file): not YAML: a number of 5,000 digits is larger than any here",
        id="thousands of digits",
    ),
    pytest.param(
        "rules:\n",
        "? [a, b]\n: 1\nrules:\n",
        "line 8: (the file): not YAML: a list or mapping cannot be the name of a field",
        id="a list as a field's name",
    ),
    pytest.param(
        "name: State University",
        'name: "State\\0University"',
        "line 43: (the file): not YAML: the text has U+0000, which is no character: leave it out",
        id="a zero byte in a text",
    ),
    pytest.param(
        "name: State University",
        'name: "State \\ud800"',
        "line 43: (the file): not YAML: the text has U+D800, which is no character: leave it out",
        id="half a character",
    ),
    pytest.param(
        GPUS,
        "max_gpus_per_job: 4\n  default_gpus: 8",
        "line 14: rules.default_gpus: 8 is more than max_gpus_per_job 4: whoever asks for none "
        "would be refused",
        id="a default that the limit refuses",
    ),
    pytest.param(
        "max_time_limit: 7d, notice: 5s",
        "max_time_limit: 7d, notice: 5s, idle_end: 999999999d",
        "line 18: tiers.team.idle_end: longer than 3660 days",
        id="a step against idleness after the end of time",
    ),
]


@pytest.mark.parametrize(("before", "after", "problem"), ODD)
def test_a_value_that_nobody_can_have_meant_is_told_at_its_line(before, after, problem):
    if "default_gpus" in after:
        before, after = f"  default_gpus: 1\n  {before}", f"  {after}"
    assert problem in told(before, after)


@pytest.mark.parametrize("written", ["4_096", "0x1000", "+4096"])
def test_numbers_that_all_readers_of_yaml_take_for_the_same_are_taken(written):
    assert told(GPUS, f"max_gpus_per_job: {written}") == []
