"""Addresses of the portal that the documents give lead to the page that they speak of."""

import re

from tests.infra.programs import ROOT
from tests.portal.test_accessibility import VIEWS

ADDRESS = re.compile(r"127\.0\.0\.1:8501/(\w*)(\?\w+=)?")


def test_every_address_in_the_documents_is_of_a_page_that_there_is():
    """The bare address is where a visit begins; of that page nothing is asked."""
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = [given for file in documents for given in ADDRESS.findall(file.read_text())]
    assert ("capacity", "?pool=") in found
    assert [given for given in found if given[0] not in VIEWS and given != ("", "")] == []
