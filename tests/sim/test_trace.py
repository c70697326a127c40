"""Reading traces, in both formats, and what each mistake is told as."""

import gzip
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.errors import Refused
from scheduler.sim.limits import time_limits
from scheduler.sim.rulebook import read_rulebook
from scheduler.sim.setting import Cluster, gang, set_up
from scheduler.sim.trace_file import read_trace
from tests.sim.replay import HALVES, text_of

HEAD = "job_id,submit_s,duration_s,gpus,nodes,gpu_type,user,tenant,status\n"
GOOD = HEAD + "j1,0,60,8,1,A100,ana,vision,COMPLETED\nj2,30,0.5,16,,,,,\n"


def refusal(folder, text, name="trace.csv"):
    """Return the problems of a file as (line, field, reason)."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Refused) as refused:
        read_trace(file)
    assert str(file) in refused.value.title
    return [(fault.line, fault.field, fault.reason) for fault in refused.value.faults]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_trace_is_read_plain_or_packed_whatever_its_name(tmp_path, pack):
    file = tmp_path / "trace"
    file.write_bytes(pack(GOOD.encode()))
    first, second = read_trace(file).jobs
    assert (first.id, first.gpus, first.nodes, first.user) == ("j1", 8, 1, "ana")
    assert (first.tenant, first.duration) == ("vision", timedelta(minutes=1))
    assert (second.nodes, second.user, second.tenant) == (None, "unknown", "unknown")
    assert second.duration == timedelta(milliseconds=500)


def test_columns_that_are_not_needed_may_be_left_out_and_stand_in_any_order(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text("gpus,job_id,duration_s,submit_s\n1,j1,5,0\n\n")
    assert [(job.id, job.gpus) for job in read_trace(file).jobs] == [("j1", 1)]


def test_numbers_may_be_written_as_tables_of_floats_write_them(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(HEAD + "j1,0.0,1e2,8.0,1.0,,,t,\nj2,1.5E+01,.5,+16,2.00,,,t,\n")
    first, second = read_trace(file).jobs
    assert (first.submit, first.duration) == (timedelta(0), timedelta(seconds=100))
    assert (first.gpus, first.nodes) == (8, 1)
    assert (second.submit, second.duration) == (timedelta(seconds=15), timedelta(seconds=0.5))
    assert (second.gpus, second.nodes) == (16, 2)


def test_jobs_without_gpus_are_left_out_and_counted_as_of_slurm(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(HEAD + "j1,0,60,8,,,,t,\ncpu,5,60,0,,,,t,\nj2,9,60,0.0,,,,t,\nj3,9,5,1,,,,t,\n")
    trace = read_trace(file)
    assert [job.id for job in trace.jobs] == ["j1", "j3"]
    assert trace.left_out == {"without GPUs": 2}


ROW = "j1,0,60,8,1,,,t,\n"


@pytest.mark.parametrize(
    ("text", "line", "field", "told"),
    [
        pytest.param(HEAD + "j1,0,-5,8,,,,t,\n", 2, "duration_s", "-5 is negative", id="negative"),
        pytest.param(HEAD + "j1,0,0,8,,,,t,\n", 2, "duration_s", "is zero", id="zero duration"),
        pytest.param(HEAD + "j1,-1,5,8,,,,t,\n", 2, "submit_s", "negative", id="before time"),
        pytest.param(HEAD + "j1,0,soon,8,,,,t,\n", 2, "duration_s", "'soon' is not", id="words"),
        pytest.param(HEAD + "j1,0,nan,8,,,,t,\n", 2, "duration_s", "'nan' is not", id="nan"),
        pytest.param(HEAD + "j1,0,1e9,8,,,,t,\n", 2, "duration_s", "longer than", id="1e9"),
        pytest.param(HEAD + "j1,0,1e999,8,,,,t,\n", 2, "duration_s", "'1e999' is no", id="1e999"),
        pytest.param(HEAD + "j1,0,,8,,,,t,\n", 2, "duration_s", "an empty field", id="empty"),
        pytest.param(
            HEAD + "j1,0,999999999,8,,,,t,\n", 2, "duration_s", "longer than", id="too long"
        ),
        pytest.param(HEAD + "j1,0,5,-1,,,,t,\n", 2, "gpus", "less than 0", id="GPUs owed"),
        pytest.param(
            HEAD + "j1,0,5,0,,,,t,\n", 1, "gpus", "is 0 in all 1 rows", id="no GPUs at all"
        ),
        pytest.param(HEAD + "j1,0,5,1e300,,,,t,\n", 2, "gpus", "below 1,000,000", id="too many"),
        pytest.param(
            HEAD.upper() + "j1,0,5,8,,,,t,\n", 1, "(the file)", "other letters", id="capitals"
        ),
        pytest.param(HEAD + "j1,0,5,2.5,,,,t,\n", 2, "gpus", "not a whole", id="half a GPU"),
        pytest.param(HEAD + "j1,0,5,8,x,,,t,\n", 2, "nodes", "not a whole", id="odd nodes"),
        pytest.param(HEAD + ",0,5,8,,,,t,\n", 2, "job_id", "is empty", id="no name"),
        pytest.param(
            HEAD + ROW + ROW, 3, "job_id", "'j1' is there already, in line 2", id="duplicate"
        ),
        pytest.param(
            HEAD + "j1,9,5,8,,,,t,\nj2,8,5,8,,,,t,\n",
            3,
            "submit_s",
            "8 is earlier than the row before it",
            id="unsorted",
        ),
        pytest.param(
            HEAD + "j1,0,5\n", 2, "(the file)", "the row has 3 fields", id="a row cut short"
        ),
        pytest.param(HEAD + 'j1,0,5,8,,,,"t\n', 2, "(the file)", "is not CSV", id="an open quote"),
        pytest.param(
            HEAD.replace("status", "colour"), 1, "colour", "is not known here", id="unknown column"
        ),
        pytest.param(
            HEAD.replace("gpus,", ""), 1, "gpus", "the column is missing", id="missing column"
        ),
        pytest.param(HEAD.replace("user", "gpus"), 1, "gpus", "is there twice", id="column twice"),
        pytest.param(HEAD, 1, "(the file)", "has no jobs", id="no rows"),
        pytest.param(ROW, 1, "(the file)", "has no header: the first line names", id="no header"),
        pytest.param(
            HEAD.replace(",", ";"), 1, "(the file)", "has semicolons between", id="semicolons"
        ),
        pytest.param(HEAD.replace(",", "\t"), 1, "(the file)", "has tabs between", id="tabs"),
        pytest.param(
            (HEAD + "j1,0,-5,8,,,,t,\n").replace("\n", "\r\n"),
            2,
            "duration_s",
            "-5 is negative; it must be more than 0",
            id="negative, with Windows line ends",
        ),
        pytest.param("", 1, "(the file)", "is empty", id="empty file"),
        pytest.param(b"\xff\xfe\n", 1, "(the file)", "is not UTF-8", id="not text"),
        pytest.param(
            HEAD.encode() + "j1,0,5,8,,,añá,t,\n".encode("latin-1"),
            2,
            "(the file)",
            "is not UTF-8 text (byte 0xf1): convert it",
            id="Latin-1",
        ),
        pytest.param(
            b"\x1f\x8b\x08\x00" + bytes(20), 1, "(the file)", "gzip data is damaged", id="damaged"
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_field(tmp_path, text, line, field, told):
    found = refusal(tmp_path, text)
    assert any((at, name) == (line, field) and told in why for at, name, why in found), found


def test_a_truncated_gzip_is_told_where_it_ends(tmp_path):
    rows = HEAD + "".join(f"j{n},{n},{n * 7919 % 1000 + 1},8,,,,t,\n" for n in range(2000))
    packed = gzip.compress(rows.encode())
    ((line, field, reason),) = refusal(tmp_path, packed[: len(packed) // 2], "trace.csv.gz")
    assert field == "(the file)"
    assert "truncated" in reason
    assert 500 < line < 1500


def test_a_gzip_without_even_its_header_is_told_once(tmp_path):
    (found,) = refusal(tmp_path, gzip.compress(GOOD.encode())[:5])
    assert "truncated" in found[2]


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["Windows", "old Mac"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_a_trace_of_another_system_is_read_alike(tmp_path, end, mark):
    file = tmp_path / "trace.csv"
    file.write_bytes((mark + GOOD.replace("\n", end)).encode())
    assert [(job.id, job.line) for job in read_trace(file).jobs] == [("j1", 2), ("j2", 3)]


def test_many_mistakes_are_told_together_but_not_all_of_thousands(tmp_path):
    rows = "".join(f"j{n},{n},0,8,,,,t,\n" for n in range(5000))
    assert len(refusal(tmp_path, HEAD + rows)) == 20


def test_a_file_that_is_not_there_is_told_so(tmp_path):
    with pytest.raises(Refused, match=r"nothing.csv cannot be read: No such file"):
        read_trace(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("gpus", "nodes", "size"),
    [
        pytest.param(16, 4, (4, 4), id="as it ran where that divides"),
        pytest.param(16, 3, (2, 8), id="fewest nodes where it does not"),
        pytest.param(16, 1, (2, 8), id="fewest nodes where one has not so many"),
        pytest.param(12, None, (2, 6), id="12 GPUs are 2 x 6"),
        pytest.param(15, None, (2, 8), id="15 GPUs are 2 x 8, rounded up"),
        pytest.param(3, None, (1, 3), id="a part of one node"),
    ],
)
def test_a_gang_is_alike_on_all_its_nodes(gpus, nodes, size):
    assert gang(gpus, nodes, 8) == size


def setting(folder, text, cluster=(2, 8), book="default", limits="exact"):
    file = folder / "trace.csv"
    file.write_text(text)
    trace = read_trace(file)
    named = read_rulebook(book) if isinstance(book, str) else book
    given = Cluster(*cluster) if cluster else None
    return set_up(trace, given, named, time_limits(limits, trace))


def test_a_job_larger_than_the_cluster_is_told_with_its_line(tmp_path):
    with pytest.raises(Refused) as refused:
        setting(tmp_path, text_of([(0, 5, 8, "a"), (1, 5, 24, "a")]))
    (fault,) = refused.value.faults
    assert (fault.line, fault.field) == (3, "gpus")
    assert fault.reason.startswith("24 GPUs need 3 nodes with 8; the cluster has 2 x 8: leave")


def test_a_whole_policy_must_have_an_account_for_each_tenant(tmp_path):
    with pytest.raises(Refused) as refused:
        setting(tmp_path, text_of([(0, 5, 1, "a"), (0, 5, 1, "z"), (0, 5, 1, "y")]), book=HALVES)
    assert refused.value.value == "y, z"


def test_a_whole_policy_says_itself_what_nodes_there_are(tmp_path):
    text = text_of([(0, 5, 1, "a")])
    assert setting(tmp_path, text, None, HALVES).gpus == 16
    with pytest.raises(Refused, match="2 nodes of up to 8 GPUs"):
        setting(tmp_path, text, (3, 8), HALVES)
    with pytest.raises(Refused, match="--nodes"):
        setting(tmp_path, text, None)


def test_a_story_of_ten_thousand_years_is_refused(tmp_path):
    rows = [(0, 3600 * 24 * 3650, 1, "a")] * 1000
    with pytest.raises(Refused, match="7000 years"):
        setting(tmp_path, text_of(rows))


def test_limits_come_from_a_file_by_job(tmp_path):
    limits = tmp_path / "limits.csv"
    limits.write_text("job_id,limit_s\nj2,9\nj1,7.5\n")
    made = setting(tmp_path, GOOD, limits=str(limits))
    assert [work.job.time_limit.total_seconds() for work in made.works] == [7.5, 9]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("job_id,limit\n", "the header is not job_id,limit_s", id="header"),
        pytest.param("job_id,limit_s\nj1,5\n", "no limit for job 'j2'", id="missing job"),
        pytest.param("job_id,limit_s\nj1,5\nj2,-1\n", "-1 is negative", id="negative"),
        pytest.param("job_id,limit_s\nj1,5\nj2,5\nj3,5\n", "has no job 'j3'", id="unknown job"),
        pytest.param("job_id,limit_s\nj1,5\nj2,5\nj1,5\n", "is there already", id="twice"),
        pytest.param("job_id,limit_s\nj1,5,h\nj2,5\n", "the row has 3 fields", id="a field more"),
    ],
)
def test_a_mistake_in_the_limits_is_told(tmp_path, text, told):
    limits = tmp_path / "limits.csv"
    limits.write_text(text)
    with pytest.raises(Refused) as refused:
        setting(tmp_path, GOOD, limits=str(limits))
    assert any(told in fault.reason for fault in refused.value.faults)


def test_limits_may_be_what_was_asked_of_slurm(tmp_path):
    asked = SACCT.replace("|State", "|State|Timelimit").splitlines()
    kept = [asked[0], asked[1] + "|2-00:00:00", asked[4] + "|00:30:00"]
    made = setting(tmp_path, "\n".join(kept), limits="asked")
    hours = [work.job.time_limit.total_seconds() / 3600 for work in made.works]
    assert hours == [0.5, 48]
    raw = "JobID|Submit|ElapsedRaw|AllocTRES|TimelimitRaw\n7|1000|60|gres/gpu=4|90\n"
    (work,) = setting(tmp_path, raw, limits="asked").works
    assert work.job.time_limit == timedelta(minutes=90)
    with pytest.raises(Refused, match=r"no time limit for 1 job; the first is 100 in line 3"):
        setting(tmp_path, "\n".join([*kept[:2], asked[4] + "|UNLIMITED"]), limits="asked")


@pytest.mark.parametrize("said", ["factor:0", "factor:-1", "factor:inf", "factor:x", "factor:1e9"])
def test_a_factor_that_makes_no_limits_is_refused(tmp_path, said):
    with pytest.raises(Refused, match="--limits factor"):
        setting(tmp_path, GOOD, limits=said)


SACCT = """JobID|JobName|User|Account|Submit|Elapsed|AllocNodes|AllocTRES|State
101|train|ana|vision|2026-03-02T12:01:00|1-02:03:04|2|billing=16,cpu=64,gres/gpu=16,node=2|COMPLETED
101.batch|batch|||2026-03-02T12:01:00|1-02:03:04|1|cpu=32,gres/gpu=8|COMPLETED
101.0|python|||2026-03-02T12:01:00|1-02:03:04|2|cpu=64,gres/gpu=16|COMPLETED
100|early|bo|nlp|2026-03-02T12:00:00|00:10:00|1|cpu=4,gres/gpu:a100=2,gres/gpu:h100=1|CANCELLED by 7
102|cpu only|bo|nlp|2026-03-02T12:02:00|00:10:00|1|cpu=4|COMPLETED
103|never|bo|nlp|2026-03-02T12:02:00|00:00:00|0||CANCELLED by 7
104|now|bo|nlp|2026-03-02T12:02:00|00:10:00|1|gres/gpu=8|RUNNING
105_7|array|bo|nlp|2026-03-02T13:02:00+01:00|00:10|1|gres/gpu=8|TIMEOUT
"""


ODDITIES = """\
JobID|Submit|ElapsedRaw|TimelimitRaw|AllocNodes|ReqTRES|AllocTRES|State
1001|2026-03-02T12:01:00|7200|240|2|gres/gpu=16|cpu=64,gres/gpu:h100=16,gres/gpu=16|COMPLETED
1001.batch|2026-03-02T12:01:00|7200||1||gres/gpu:h100=8,gres/gpu=8|COMPLETED
1001.extern|2026-03-02T12:01:00|7200||2||billing=16,gres/gpu=16|COMPLETED
1001.0|2026-03-02T12:01:00|7100||2||gres/gpu=16|COMPLETED
1002_4|2026-03-02T12:00:00|600|UNLIMITED|1|gres/gpu:h100=4|gres/gpu:h100=4|CANCELLED by 1000
1002_[5-9%2]|2026-03-02T12:00:00|0|UNLIMITED|0|gres/gpu:h100=4||PENDING
1002_5|2026-03-02T12:00:00|0|UNLIMITED|0|gres/gpu:h100=4||CANCELLED by 1000
1003+0|2026-03-02T12:05:00|900|60|1|gres/gpu=8|gres/gpu=8,node=1|COMPLETED
1003+1|2026-03-02T12:05:00|900|60|2|cpu=8|cpu=8,node=2|COMPLETED
1004|2026-03-02T12:06:00|100|60|1|gres/gpu=8|gres/gpu=8|RUNNING
1005|Unknown|0|60|0|gres/gpu=8||CANCELLED by 0
1007|2026-03-02T12:08:00|50|Partition_Limit|1|gres/gpu=1|gres/gpu=1|REQUEUED
1007|2026-03-02T12:08:00|500|Partition_Limit|1|gres/gpu=1|gres/gpu=1|NODE_FAIL
1009|2026-03-02T12:09:00|50|60|||gres/gpu:h100=2,gres/gpu:a100=1|TIMEOUT
1010|2026-03-02T12:09:30|50|60|1||gres/shard=2,gres/gpumem=40G|OUT_OF_MEMORY
"""


def test_what_sacct_prints_is_a_trace_in_order_of_submission(tmp_path):
    file = tmp_path / "sacct.txt"
    file.write_text(SACCT)
    trace = read_trace(file)
    assert trace.begins_at == datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert [
        (job.id, job.submit.total_seconds(), job.duration.total_seconds(), job.gpus, job.nodes)
        for job in trace.jobs
    ] == [
        ("100", 0, 600, 3, 1),
        ("101", 60, 93784, 16, 2),
        ("105_7", 120, 10, 8, 1),
    ]
    assert [(job.name, job.user, job.tenant) for job in trace.jobs][1] == ("train", "ana", "vision")
    assert trace.left_out == {"without GPUs": 1, "never ran": 1, "still running": 1}


def test_every_kind_of_row_that_sacct_prints_is_a_job_or_left_out_for_a_reason(tmp_path):
    """Array tasks, heterogeneous parts, typed GPUs, requeued attempts, steps, shards."""
    file = tmp_path / "sacct.txt"
    file.write_text(ODDITIES)
    trace = read_trace(file)
    assert {job.id: (job.gpus, job.nodes, job.limit) for job in trace.jobs} == {
        "1001": (16, 2, timedelta(hours=4)),
        "1002_4": (4, 1, None),
        "1003+0": (8, 1, timedelta(hours=1)),
        "1007": (1, 1, None),
        "1009": (3, None, timedelta(hours=1)),
    }
    assert trace.left_out == {"without GPUs": 2, "never ran": 3, "requeued": 1, "still running": 1}


def test_sacct_may_print_raw_seconds_and_requested_resources(tmp_path):
    file = tmp_path / "sacct.txt"
    file.write_text(
        "JobIDRaw|JobID|Partition|Submit|ElapsedRaw|ReqTRES\n7|7|big|1000|60|gres/gpu=4\n"
    )
    (job,) = read_trace(file).jobs
    assert (job.gpus, job.duration, job.tenant) == (4, timedelta(minutes=1), "big")


@pytest.mark.parametrize(
    ("before", "after", "line", "field", "told"),
    [
        pytest.param("|Elapsed", "|Planned", 1, "ElapsedRaw or Elapsed", "missing", id="column"),
        pytest.param("12:01:00|1-", "12:01|25|1-", 2, "(the file)", "has 10 fields", id="fields"),
        pytest.param("1-02:03:04|2", "a day|2", 2, "Elapsed", "'a day' is not", id="elapsed"),
        pytest.param("2026-03-02T12:00:00", "Unknown", 5, "Submit", "'Unknown'", id="submit"),
        pytest.param("100|early", "101|early", 5, "JobID", "already, in line 2", id="twice"),
        pytest.param(
            "2026-03-02T12:00:00", "9999-12-31T23:00", 5, "Submit", "1970 to 2199", id="year"
        ),
        pytest.param(
            "2026-03-02T12:00:00", "0001-01-01T00:00+14:00", 5, "Submit", "1970", id="zone"
        ),
    ],
)
def test_a_mistake_in_what_sacct_printed_is_told(tmp_path, before, after, line, field, told):
    found = refusal(tmp_path, SACCT.replace(before, after, 1))
    assert any((at, name) == (line, field) and told in why for at, name, why in found), found
    assert len(set(found)) == len(found), "each is told once"


@pytest.mark.parametrize(
    ("nodes", "gpus", "size"),
    [
        pytest.param("0", "16", (2, 8), id="a job that Slurm gave no nodes"),
        pytest.param("9" * 5000, "16", (2, 8), id="no number of nodes"),
        pytest.param("1K", "16", (2, 8), id="a rounded number of nodes"),
        pytest.param("4", "16", (4, 4), id="as it ran"),
        pytest.param("128", "1K", (128, 8), id="a shortened number of GPUs"),
    ],
)
def test_what_slurm_says_of_nodes_counts_where_it_is_a_number(tmp_path, nodes, gpus, size):
    row = f"7|2026-03-02T12:00:00|60|{nodes}|cpu=8,gres/gpu={gpus},gres/gpumem=1G"
    text = f"JobID|Submit|ElapsedRaw|AllocNodes|AllocTRES\n{row}\n"
    (work,) = setting(tmp_path, text, cluster=(128, 8)).works
    assert (work.job.shape.nodes, work.job.shape.gpus_per_node) == size


def test_an_export_without_gpu_jobs_says_what_was_left_out(tmp_path):
    lines = SACCT.splitlines()
    ((_, _, told),) = refusal(tmp_path, "\n".join([lines[0], *lines[5:8]]))
    assert told == "has no GPU jobs that ran (1 never ran, 1 still running, 1 without GPUs)"
