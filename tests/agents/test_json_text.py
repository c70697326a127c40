"""A long string read piece by piece is the same as one read whole."""

import json

from hypothesis import given
from hypothesis import strategies as st

from agents.site.json_text import JsonText


@given(
    st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from('"\\\n\u2028😀')),
    st.lists(st.integers(1, 12), min_size=1),
    st.booleans(),
)
def test_the_pieces_do_not_matter(text, widths, ascii_only):
    body = json.dumps({"logs": text}, ensure_ascii=ascii_only)
    reader, said, place, turn = JsonText("logs"), "", 0, 0
    while place < len(body):
        width = widths[turn % len(widths)]
        said += reader.feed(body[place : place + width])
        place, turn = place + width, turn + 1
    assert said == text


def test_hardly_anything_is_held_back():
    reader = JsonText("logs")
    assert reader.feed('{"logs": "abc\\') == "abc"
    assert reader.feed('nrest"}') == "\nrest"
    assert reader.feed("more") == ""
