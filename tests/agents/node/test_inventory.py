"""GPUs keep the index by which leases name them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.node import inventory
from agents.node.inventory import settled
from agents.node.samples import Gpu


def gpu(uuid: str, index: int, bus_id: str = "") -> Gpu:
    return Gpu(uuid, index, "H100", bus_id)


def places(gpus) -> list[tuple[str, int]]:
    return [(g.uuid, g.index) for g in gpus]


def test_at_first_sight_the_drivers_index_counts():
    assert places(settled((), (gpu("a", 0), gpu("b", 1)))) == [("a", 0), ("b", 1)]


def test_the_rest_keep_their_index_when_one_is_gone_and_it_stays_known():
    known = (gpu("a", 0), gpu("b", 1), gpu("c", 2))
    assert settled(known, (gpu("b", 0), gpu("c", 1))) == known


def test_a_replacement_on_the_same_bus_address_takes_the_index():
    known = (gpu("a", 0, "1B"), gpu("b", 1, "43"))
    listed = (gpu("new", 0, "1B"), gpu("b", 1, "43"))
    assert places(settled(known, listed)) == [("new", 0), ("b", 1)]


def test_a_further_gpu_takes_a_free_index():
    known = (gpu("a", 0, "1B"), gpu("b", 1, "43"))
    listed = (gpu("a", 0, "1B"), gpu("new", 1, "2A"), gpu("b", 2, "43"))
    assert places(settled(known, listed)) == [("a", 0), ("b", 1), ("new", 2)]


@given(
    st.lists(st.sets(st.sampled_from("abcdefgh")).map(sorted), max_size=6),
)
def test_whatever_comes_and_goes_an_index_belongs_to_one_gpu_for_ever(history):
    known, seen = (), {}
    for present in history:
        known = settled(known, [gpu(uuid, n, uuid) for n, uuid in enumerate(present)])
        indices = [g.index for g in known]
        assert len(set(indices)) == len(indices)
        for g in known:
            assert seen.setdefault(g.uuid, g.index) == g.index
        assert {g.uuid for g in known} >= set(present)


def test_what_is_kept_in_a_file_is_read_again(tmp_path):
    file = tmp_path / "inventory.json"
    assert inventory.load(file) == ()
    known = (Gpu("a", 0, "H100", "1B", 3), gpu("b", 1))
    inventory.save(file, known)
    assert inventory.load(file) == known


@pytest.mark.parametrize("text", ["{", '[{"uuid": "a"}]', '[{"wrong": 1}]', "[1]"])
def test_a_file_that_holds_something_else_is_named(tmp_path, text):
    file = tmp_path / "inventory.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"inventory\.json.*remove it"):
        inventory.load(file)


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"inventory .*directory"):
        inventory.load(tmp_path)
