"""R14: labels are a partial order, and what nobody was given is denied."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.labels import Lattice, dominates
from scheduler.core.model import Label
from tests import build

LABELS = st.builds(
    Label,
    st.sampled_from(["a", "b", "c", "d"]),
    st.integers(0, 3),
    st.frozensets(st.sampled_from(["crypto", "space", "bio"])),
)
NAMES = st.sampled_from(["a", "b", "c", "d", "unheard-of"])
LATTICES = st.lists(LABELS, unique_by=lambda label: label.name).map(Lattice)


@given(LABELS)
def test_a_label_dominates_itself(label):
    assert dominates(label, label)


@given(LABELS, LABELS)
def test_two_labels_that_dominate_each_other_mean_the_same(one, other):
    same = (one.level, one.compartments) == (other.level, other.compartments)
    assert (dominates(one, other) and dominates(other, one)) == same


@given(LABELS, LABELS, LABELS)
def test_what_dominates_a_dominating_label_dominates(high, middle, low):
    if dominates(high, middle) and dominates(middle, low):
        assert dominates(high, low)


@given(LATTICES, NAMES, NAMES, NAMES)
def test_names_are_ordered_as_their_labels_are(lattice, high, middle, low):
    """Also where some of the names stand in no lattice."""
    assert lattice.dominates(high, high)
    if lattice.dominates(high, middle) and lattice.dominates(middle, low):
        assert lattice.dominates(high, low)


@given(LATTICES, st.frozensets(NAMES), NAMES, NAMES)
def test_more_clearance_never_denies(lattice, held, more, label):
    if lattice.covers(held, label):
        assert lattice.covers(held | {more}, label)


@given(LATTICES, NAMES)
def test_whoever_holds_nothing_is_denied(lattice, label):
    assert not lattice.covers((), label)


def test_a_compartment_is_not_opened_by_a_high_level():
    lattice = Lattice(
        [
            build.label("public", 0),
            build.label("secret", 2),
            build.label("secret-space", 2, "space"),
            build.label("restricted-space", 1, "space"),
        ]
    )
    assert lattice.dominates("secret", "public")
    assert lattice.dominates("secret-space", "restricted-space")
    assert not lattice.dominates("secret", "restricted-space")
    assert not lattice.dominates("restricted-space", "secret")


def test_a_label_outside_the_lattice_is_dominated_by_itself_alone():
    lattice = Lattice([build.label("top", 9, "all")])
    assert lattice.covers({"odd"}, "odd")
    assert not lattice.covers({"top"}, "odd")
    assert not lattice.covers({"odd"}, "top")
